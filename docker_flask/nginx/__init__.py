"""nginx: its configuration and its process."""
