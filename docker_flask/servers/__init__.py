"""What each application server is."""
