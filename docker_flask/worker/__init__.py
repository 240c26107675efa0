"""What runs around the application: in a worker, and in the programs of its Python."""
