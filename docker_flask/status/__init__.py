"""What process 1 answers over HTTP. It knows nothing of the service: the supervisor gives pages."""
