"""What the user wants, and what follows from it for this container."""
