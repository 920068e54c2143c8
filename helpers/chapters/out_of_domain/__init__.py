"""Chapter ``out-of-domain``: models on data sets that they never saw (arXiv 2307.03275)."""
