"""PID 1 in production."""
