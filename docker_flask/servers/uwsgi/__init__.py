"""What uWSGI is: its options, its ini files, its program."""
