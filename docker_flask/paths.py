"""Where the parts of a running container meet: names only, which the health check reads at once."""

# The supervisor's folder: the first that it can write. The first is the image's own; the others are
# writable for any user, and the last of them even where the root file system is read-only.
FOLDERS = ("/run/docker-flask", "/tmp/docker-flask", "/dev/shm/docker-flask")
# In it, where the supervisor takes commands, and where nginx says that it is there.
CONTROL_SOCKET, NGINX_SOCKET = "control.sock", "nginx.sock"
# Where debug mode listens.
DEBUG_PORT = 5000
# What an answer says if all is well.
OK = "ok"
