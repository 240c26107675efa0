"""Measurements of the image and of its peers."""
