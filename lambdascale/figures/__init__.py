"""One small draw function per figure."""
