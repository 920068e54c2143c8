"""Training loops, targets and augmentation."""
