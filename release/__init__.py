"""Publishes the image: one list of images for several processors, signed, with what is in them."""
