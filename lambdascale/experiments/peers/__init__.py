"""Who else moves weights between nodes: each of them, and ours, as one small program per node."""
