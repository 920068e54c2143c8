"""What the chapters on transfer share: domains, stages, tables, figures (arXiv 2511.04803)."""
