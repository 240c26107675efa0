"""How uWSGI starts."""

from docker_flask.servers.launch import GREENLETS, SOCKET_FD, Launch
from docker_flask.shared.paths import HOME, UWSGI_PROGRAM


def command(launch: Launch) -> list[str]:
    """The command line: app.ini with its values, then the user's options."""
    # uWSGI's own options must not have these names.
    placeholders = {
        "worker-count": launch.workers,
        "thread-count": launch.threads,
        "load-in-workers": int(not launch.preload),
        "load-in-master": int(launch.preload),
        "socket-fd": SOCKET_FD,
        "socket-backlog": launch.queue,
        "io-seconds": launch.release,
        "open-files": launch.descriptors,
    }
    arguments = [*launch.nice, UWSGI_PROGRAM]
    for name, value in placeholders.items():
        arguments += ["--set-placeholder", f"{name}={value}"]
    if launch.worker_class == "gevent":
        arguments += ["--gevent", str(GREENLETS), "--gevent-monkey-patch"]
    arguments += ["--ini", f"{HOME}/app.ini"]
    # The user's file comes last: if an option is in both files, uWSGI uses the last value.
    return [*arguments, "--ini", str(launch.options_file)] if launch.options_file else arguments
