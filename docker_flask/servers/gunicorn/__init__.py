"""What Gunicorn is: its options and its program."""
