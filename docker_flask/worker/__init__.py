"""The process around the application inside its server."""
