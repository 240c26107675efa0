"""Paths in the image and in a running container.

Strings only: the health check imports this module, and pathlib would double the cost of the check.
"""

# The image's own files, and the Python environment of the application.
HOME, VENV = "/opt/docker-flask", "/opt/venv"
PYTHON, UWSGI_PROGRAM = f"{VENV}/bin/python", f"{VENV}/bin/uwsgi"

# The supervisor uses the first of these folders that it can write to. The image has the first one.
# Any user can write to the others, and to the last even if the root file system is read-only.
FOLDERS = ("/run/docker-flask", "/tmp/docker-flask", "/dev/shm/docker-flask")  # noqa: S108 (made with mode 700)
# Sockets in this folder: the supervisor's for commands, and nginx's for the health check.
CONTROL_SOCKET, NGINX_SOCKET = "control.sock", "nginx.sock"
# Files in this folder; nginx checks whether they exist. DRAINING: nginx closes the connections of
# clients. SHARING: a stop or a reload may create DRAINING, or a worker shares pages.
DRAINING, SHARING = "draining", "sharing"
# Debug mode's port.
DEBUG_PORT = 5000
# The answer to a command that succeeds.
OK = "ok"
