"""Where things lie in the image and in a running container.

Text only: the health check reads this module, and to import pathlib would double its cost.
"""

# The image's own files, and the Python environment of the application.
HOME, VENV = "/opt/docker-flask", "/opt/venv"
PYTHON, UWSGI_PROGRAM = f"{VENV}/bin/python", f"{VENV}/bin/uwsgi"

# The supervisor's folder: the first that it can write. The first is the image's own; the others are
# writable for any user, and the last of them even where the root file system is read-only.
FOLDERS = ("/run/docker-flask", "/tmp/docker-flask", "/dev/shm/docker-flask")
# In it, where the supervisor takes commands, and where nginx says that it is there.
CONTROL_SOCKET, NGINX_SOCKET = "control.sock", "nginx.sock"
# Files in it that tell nginx something by being there: clients are to leave their connections; the
# first file may be there at all, or a worker shares pages.
DRAINING, SHARING = "draining", "sharing"
# Where debug mode listens.
DEBUG_PORT = 5000
# What an answer says if all is well.
OK = "ok"
