"""The loop around an engine: the training step, epochs, loader, passes and scoring."""
