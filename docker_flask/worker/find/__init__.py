"""Which application there is, and which static files it has."""
