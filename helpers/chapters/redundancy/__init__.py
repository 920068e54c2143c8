"""Chapter ``redundancy``: how much data is enough? (arXiv 2511.04803, Table I, Fig. 1)"""
