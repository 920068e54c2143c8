"""Everything the chapters compute: data, metrics, methods, training, runs and records."""

__version__ = "0.1.0"
