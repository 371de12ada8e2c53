"""Starting, watching and killing agents."""
