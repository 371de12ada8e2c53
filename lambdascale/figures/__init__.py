"""Figures: one small `draw(frames…, provenance)` per module, over the tidy CSVs of runs.

A figure reads frames and draws them; it computes nothing that a claim rests on. Every figure carries the
provenance of its numbers (measured, emulated or simulated). Seconds on every time axis.
"""
