"""Typed, authenticated control streams between controller and agents."""
