"""Data sets: manifest, fetching, readers, synthetic domains, splits and patches."""
