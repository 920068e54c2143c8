"""Networks and their predictions."""
