"""What stands around the application inside its server."""
