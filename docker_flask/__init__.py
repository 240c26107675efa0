"""What runs the container: settings and limits at the ground, the supervisor on top."""
