"""Frozen descriptions of images and patches."""
