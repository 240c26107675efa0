"""Short commands."""
