"""Multicast schedules as pure functions (paper.md c)."""
