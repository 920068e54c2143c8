"""Chapter ``forgetting``: what fine-tuning costs (arXiv 2511.04803, Tables V and VI, Fig. 4)."""
