"""What the image changes in the Python of the application, and why."""
