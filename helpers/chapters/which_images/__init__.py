"""Chapter ``which-images``: which images should I annotate?"""
