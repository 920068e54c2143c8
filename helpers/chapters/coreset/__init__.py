"""Chapter ``coreset``: which patches to annotate? (arXiv 2511.04803, Tables II and III)"""
