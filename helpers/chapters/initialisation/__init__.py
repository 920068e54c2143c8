"""The chapter ``initialisation``: which weights to start from, and for how much data it matters."""
