"""λScale: grow a large language model from k nodes to N, and serve while it is still in flight."""

__version__ = "0.1.0"
