"""New files out of adapters and checkpoints: merge, bake, extract, resize, convert; exact, or with the error told."""
