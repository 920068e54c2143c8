"""Chapter ``order``: three domains in six orders (arXiv 2511.04803, Table VII)."""
