"""What the first processes of production, debug mode and commands share."""
