"""Frozen descriptions of images and patches.

Open the module you need: ``descriptor`` (44 numbers, numpy alone), ``encoders`` and ``embed``
(networks of timm), ``knn`` (a check that features carry information).
"""
