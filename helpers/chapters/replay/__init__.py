"""Chapter ``replay``: how much of the old data to keep (arXiv 2511.04803, Table VIII)."""
