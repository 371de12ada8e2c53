"""Execution pipelines as pure functions (paper.md c.6)."""
