"""The application servers: their command lines and signals."""
