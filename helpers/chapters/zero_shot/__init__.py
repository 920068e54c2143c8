"""Chapter ``zero-shot``: does a model see what it never saw? (arXiv 2511.04803, Table IV)"""
