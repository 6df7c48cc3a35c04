"""The one training loop: seeds, checkpoints, exact resume, early stopping, progress, trackers, torchrun."""
