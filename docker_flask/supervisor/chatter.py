"""What servers say about themselves, and the log shows only with LOG_LEVEL=debug.

A line that is not listed here is shown: errors, warnings, and whatever another version says.
"""

from __future__ import annotations

import re

# uWSGI writes all its lines with one function, which has no levels. In app.ini, `log-date` puts
# this word before each of them, so that no line of the application is taken for one of uWSGI's.
_UWSGI = rb"uWSGI - "
_OF_UWSGI = (
    # Its start.
    rb"running \"",
    rb"\*\*\* Starting uWSGI ",
    rb"compiled with version: ",
    rb"(?:os|nodename|machine|clock source): ",
    rb"pcre jit ",
    rb"detected (?:number of CPU cores|binary path|max file descriptor number): ",
    rb"current working directory: ",
    rb"your (?:processes number limit|memory page size) is ",
    rb"your (?:server socket listen backlog|mercy for graceful operations)",
    rb"lock engine: ",
    rb"- async cores set to ",
    rb"thunder lock: ",
    rb"Python (?:version: |main interpreter initialized )",
    rb"Set PythonHome to ",
    rb"--- Python VM already initialized ---",
    rb"python threads support enabled",
    rb"uwsgi socket \d+ ",
    rb"mapped \d+ bytes ",
    rb"\*\*\* Operational MODE: ",
    rb"\*\*\* (?:Stats server enabled|running \w+ loop engine) ",
    rb"spawned uWSGI ",
    rb"WSGI app \d+ .* ready in ",
    # Workers that come and go as the supervisor orders.
    rb"Respawned uWSGI worker ",
    rb"worker \d+ (?:killed successfully|asked for cheap mode|buried after )",
    rb"uWSGI worker \d+ cheaped",
    rb"your loop engine died\. R\.I\.P\.",
    rb"(?:\.\.\.)?(?:Gracefully|gracefully) killing worker ",
    rb"(?:\.\.\.)?The work of process \d+ is done",
    # Its end.
    rb"SIGINT/SIGTERM received",
    rb"Brutally killing worker ",
    rb"(?:\w.* - )?(?:stopping gevent |main gevent watchers stopped )",
    rb"goodbye to ",
)
_LINES = (
    _UWSGI + rb"(?:" + rb"|".join(_OF_UWSGI) + rb")",
    # Before it has read its options.
    rb"\[uWSGI\] getting INI configuration from ",
    rb"uwsgi socket \d+ inherited UNIX address ",
    # nginx, of each upload that does not fit into 16 KB; and before it has read its configuration.
    rb"[/\d]{10} [:\d]{8} \[warn\] \S+ \S+ a client request body is buffered to a temporary file ",
    rb"[/\d]{10} [:\d]{8} \[notice\] \S+ using inherited sockets from ",
)
# Wrong in any case: the number of the socket that the supervisor has bound is another.
_WRONG = (_UWSGI + rb"your server socket listen backlog is limited to 0 connections",)
# Each listed line has one of these words: looking for them is a hundred times faster.
_WORDS = (
    b"uWSGI",
    b"uwsgi socket",
    b"buffered to a temporary",
    b"using inherited",
)


class Chatter:
    """Removes lines; is_shown: all lines are wanted, except for wrong ones."""

    def __init__(self, is_shown: bool) -> None:
        lines = _WRONG if is_shown else _LINES
        self._line = re.compile(rb"^(?:" + rb"|".join(lines) + rb").*\n", re.MULTILINE)

    def without(self, data: bytes) -> bytes:
        """The rest of the data; a line that is not complete stays."""
        if not any(word in data for word in _WORDS):
            return data
        return self._line.sub(b"", data)
