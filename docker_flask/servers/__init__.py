"""The application servers: what the supervisor must know of each."""
