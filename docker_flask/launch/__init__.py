"""How the application servers are started: Gunicorn and uWSGI, in the Python of the application."""
