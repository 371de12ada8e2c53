"""Clusters: what they are, whether they are fit, and how agents come to run on them."""
