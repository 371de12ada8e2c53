"""Executing parts of a model."""
