"""Models as values and bytes: shape, packed image, transfer blocks, checkpoints, catalogue."""
