"""Paths in the image and in a running container.

Strings only: the health check imports this module, and pathlib would double the cost of the check.
"""

import os
import stat
from collections.abc import Iterator

# The image's own files, and the environment of the application, the only one that pip changes.
HOME, VENV = "/opt/docker-flask", "/opt/venv"
PYTHON, UWSGI_PROGRAM = f"{VENV}/bin/python", f"{HOME}/packages/bin/uwsgi"

# The interpreter behind the names in /opt/venv/bin (python.sh).
INTERPRETER = f"{HOME}/python"
# Set for installers, which import nothing of the application's (docker_flask.pth).
INSTALLS_MARK = "DOCKER_FLASK_INSTALLS"

# Process 1 of a container that runs a command, and what executes a command as a user.
TINI = "/usr/bin/tini"
EXECUTE = ("/usr/bin/python3", "-I", "-S", f"{HOME}/docker_flask/cli/execute.py")

# The folder for sockets that the image has for its service user. Other users take one of their own
# in one of these places: most containers can write to the first, `--read-only` leaves the second,
# and `--ipc none` in addition leaves the volume.
IMAGE_FOLDER = "/run/docker-flask"
PLACES = ("/tmp", "/dev/shm", "/data")  # noqa: S108 (made with mode 700)
VOLUME = "/data"
# Flask's instance folder, if the image has none (instance_folder.py).
INSTANCE = f"{VOLUME}/instance"
# What an authority has issued, and the files with which it checks a host name.
TLS_FOLDER = f"{VOLUME}/tls"
CHALLENGES = f"{TLS_FOLDER}/challenges"
# Sockets in this folder: process 1's for commands, and in production nginx's for the health check.
# Process 1 changes its time, and each worker reports the requests that it serves.
STATUS_ORDER = "status-order"
# The files of prometheus_client, of all workers.
METRICS = "metrics"
CONTROL_SOCKET, NGINX_SOCKET = "control.sock", "nginx.sock"
# Files in this folder; nginx checks whether they exist. DRAINING: nginx closes the connections of
# clients. NOT_READY: the container is not ready, or no longer.
DRAINING, NOT_READY = "draining", "not-ready"
# Debug mode's port.
DEBUG_PORT = 5000
# A variable of prestart.sh and of all that comes after it.
PRESTART_MARK = "DOCKER_FLASK_PRESTART"
# The answer to a command that succeeds.
OK = "ok"


def read(path: str | os.PathLike[str]) -> bytes:
    """A file of the kernel; empty if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes() -> Iterator[str]:
    """The processes of this container, as folders of /proc, process 1 first.

    Containers may share their processes, but not their cgroup.
    """
    own = read("/proc/self/cgroup")
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir("/proc")))):
        if read(f"/proc/{pid}/cgroup") == own:
            yield f"/proc/{pid}"


def container() -> tuple[str, str]:
    """The kernel's boot and this container's number on it: no other container has both.

    Containers may share their places, processes and network, but never the mount namespace. Virtual
    machines number alike, so the boot counts, too. Short texts: nginx has 46 bytes for the path of
    static files.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(6), f"{os.stat('/proc/self/ns/mnt').st_ino:x}"
    except OSError:  # a kernel without these
        return "", os.uname().nodename[:16]


def folders() -> tuple[str, ...]:
    """The folders for sockets that this container may take, the best first."""
    name = "-".join(("docker-flask", *container()))
    return (IMAGE_FOLDER, *(f"{place}/{name}" for place in PLACES))


def is_own(folder: str) -> bool:
    """True for a folder of this user's, no link: in shared places, others can make any name."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def others_may_replace(folder: str) -> bool:
    """True if every user can replace what is in a folder: without the sticky bit, also yours.

    Kubernetes makes volumes with such a mode, for one pod.
    """
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return False
    is_open = mode & stat.S_IWOTH and not mode & stat.S_ISVTX
    return bool(is_open) and "KUBERNETES_SERVICE_HOST" not in os.environ


def running() -> str:
    """The folder of the server that runs in this container; empty if there is none."""
    for folder in filter(is_own, folders()):
        if os.path.exists(f"{folder}/{CONTROL_SOCKET}"):
            return folder
    return ""
