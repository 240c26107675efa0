"""The options in the user's uwsgi.ini and in UWSGI_* variables, and the use of each option.

worker/find/find_app.py reads the options that name the application. Some others decide a setting,
the image overrides some, and uWSGI gets the rest after app.ini.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from docker_flask.servers.uwsgi import ini as uwsgi_ini
from docker_flask.shared.origin import FileValue, ServerOptions
from docker_flask.shared.setting_error import SettingError, shown

_APPLICATION = {
    "callable",
    "chdir",
    "file",
    "module",
    "pp",
    "python-path",
    "pythonpath",
    "wsgi",
    "wsgi-file",
}
# Options, and the setting that each option decides if the setting is not set.
_SETTINGS = {
    "cheaper": "uwsgi_cheaper",
    "harakiri": "request_timeout",
    "max-requests": "max_requests",
    "processes": "web_concurrency",
    "threads": "threads",
    "workers": "web_concurrency",
}
_OWN = {
    # The socket: the supervisor binds it, and nginx is in front.
    "buffer-size",
    "chmod",
    "listen",
    "max-fd",
    "protocol",
    "response-headers-limit",
    "socket-timeout",
    # The user, and the way to stop.
    "chroot",
    "daemonize",
    "daemonize2",
    "die-on-term",
    "exit-on-reload",
    "forkbomb-delay",
    "gid",
    "hook-accepting",
    "hook-master-start",
    "master",
    "master-fifo",
    "pidfile",
    "pidfile2",
    "safe-pidfile",
    "safe-pidfile2",
    "uid",
    "vacuum",
    # Python, and the way to load the application.
    "enable-threads",
    "home",
    "lazy",
    "lazy-apps",
    "plugin",
    "plugins",
    "pyhome",
    "single-interpreter",
    "venv",
    "virtualenv",
    # Sends tracebacks to clients.
    "catch-exceptions",
    # The number of workers.
    "cheaper-algo",
    "cheaper-initial",
    "cheaper-overload",
    "cheaper-step",
    "cheap",
    "idle",
    # The log, and the end of the start at an unknown option.
    "disable-logging",
    "log-maxsize",
    "logger",
    "logto",
    "logto2",
    "req-logger",
    "strict",
}
# The reloads in which the master starts itself again: it closes the descriptors of process 1.
_OWN_FAMILIES = re.compile(
    r"(.+-)?socket|http.*|emperor.*|touch-reload|fs-(brain-)?reload|py(thon)?-auto-?reload"
)
# Other files, and blocks, whose conditions only uWSGI can evaluate.
_NOT_SUPPORTED = re.compile(
    r"config|include|inherit|ini(-paste.*)?|xml|xmlconfig|yaml|yml"
    r"|for(-.+)?|if-.+|if(dir|env|exists|plugin)|end-?(for|if)"
)
# Options whose value is an address to listen on, other than _OWN_FAMILIES.
_LISTENS = re.compile(
    r"cache-udp-server|(fast|raw|ssl|forkpty|tuntap-)router\d?|legion(-mcast)?|snmp|stats(-server)?"
    r"|.*subscription-server|udp|multicast|cluster|zerg-server"
)
# Options that start something: a second server would run each job twice.
_JOBS = re.compile(
    r"(unique-|legion-)?cron2?|(smart-|legion-(smart-)?)?attach-(control-)?daemon2?|mules?|farm"
    r"|spooler(-.+)?|stats(-server)?"
)
_UNIX_SOCKET = re.compile(r"(unix:)?[@/\w][^:\s]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PREFIX = "UWSGI_"
# Variables that settings.py reads.
_VARIABLES = ("UWSGI_CHEAPER", "UWSGI_INI", "UWSGI_PROCESSES")


class _Option(NamedTuple):
    """An option as the user gave it: in a file, or in a variable; then file is empty."""

    name: str
    value: str
    given: str
    file: str = ""

    @property
    def where(self) -> str:
        """For a message, after the option."""
        return f" in {self.file}" if self.file else ""


def read(root: Path, environ: Mapping[str, str], uwsgi: str) -> ServerOptions:
    """Sort the options of uwsgi.ini, and after them those of the environment.

    root: the application's folder; uwsgi: the program, which lists its options. Raises
    SettingError.
    """
    settings, lines, ignored = dict[str, FileValue](), list[str](), list[str]()
    jobs = ""
    in_file, names_of_variables = _in_file(root, environ)
    for option in [*in_file, *_in_environment(environ, uwsgi)]:
        _check(option)
        name, value, given, file = option
        if name in _SETTINGS:
            settings[_SETTINGS[name]] = FileValue(given, value, file)
        elif name in _OWN or _OWN_FAMILIES.fullmatch(name):
            ignored.append(given)
        elif name in _APPLICATION:
            if not file:  # worker/find/find_app.py reads those of the file
                ignored.append(given)
        elif name in _known(uwsgi):
            lines.append(f"{name} = {value}\n")
            if _JOBS.fullmatch(name):
                jobs = f"one server because of {given}{option.where}"
        elif name not in names_of_variables:
            raise SettingError(f"{given!r}{option.where} is not allowed: uWSGI has no such option")
    text = "".join(["[uwsgi]\n", *lines]) if lines else ""
    return ServerOptions(settings, text, ignored, jobs)


def _in_file(root: Path, environ: Mapping[str, str]) -> tuple[list[_Option], set[str]]:
    """The options in uwsgi.ini, and the names that are variables there; raises SettingError."""
    file = uwsgi_ini.find(root, environ.get("UWSGI_INI", ""))
    if not file:
        return [], set()
    try:
        options = uwsgi_ini.read(file, environ, percent="%%")
        variables = uwsgi_ini.variables(file)
    except OSError as error:
        raise SettingError(f"can't read {file}: {error.strerror}") from None
    return [_Option(name, _line(value), name, str(file)) for name, value in options], variables


def _in_environment(environ: Mapping[str, str], uwsgi: str) -> Iterator[_Option]:
    """The options in variables of the environment."""
    for variable, value in environ.items():
        if variable.startswith(_PREFIX) and variable not in _VARIABLES and value.strip():
            name = variable.removeprefix(_PREFIX).lower().replace("_", "-")
            if name in _known(uwsgi):  # Kubernetes sets others for a service called uwsgi
                yield _Option(name, _line(value.replace("%", "%%")), variable)


def _line(value: str) -> str:
    """A value on one line, so that it stays one option."""
    return _CONTROL.sub(" ", value)


def _check(option: _Option) -> None:
    """Raise SettingError if an option opens a port, or if its meaning is known to uWSGI only."""
    if _LISTENS.fullmatch(option.name) and not _UNIX_SOCKET.fullmatch(option.value):
        raise SettingError(
            f"{option.given}={shown(option.value)}{option.where} is not allowed: only nginx "
            "listens on the network; use the path of a unix socket, such as /tmp/stats.sock"
        )
    if _NOT_SUPPORTED.fullmatch(option.name):
        raise SettingError(
            f"{option.given!r}{option.where} is not supported; write the options that apply into "
            "uwsgi.ini itself"
        )


@functools.cache
def _known(uwsgi: str) -> frozenset[str]:
    """The names of uWSGI's options."""
    import subprocess  # slow to import, and most applications have no uwsgi.ini

    text = subprocess.run([uwsgi, "--help"], capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"--([\w-]+)", text))
