"""Which images of a folder to annotate first."""
