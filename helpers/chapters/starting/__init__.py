"""What the chapters on where an encoder starts share (arXiv 2307.03275)."""
