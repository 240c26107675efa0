"""Hides what servers say about themselves, unless LOG_LEVEL=debug."""

from __future__ import annotations

import re

# uWSGI writes all its lines with one function, which has no levels. In app.ini, `log-date` puts
# the first word before each of them, so that no line of the application is taken for one of
# uWSGI's. A line with one of these words is shown: a warning, an error, a backtrace.
_TROUBLE = (
    rb"WARNING|DAMN|FATAL|!!!|rror|nable to|nknown|nvalid|nrecognized|ailed|denied|killed by"
    rb"|non-zero|not |n't|no app|o such|issing|must |\w\(\): |\+0x"
)
_HIDDEN = re.compile(
    rb"^(?:uWSGI - (?!.*(?:" + _TROUBLE + rb"))"
    # Before uWSGI has read its options.
    rb"|\[uWSGI\] getting INI configuration from |uwsgi socket \d+ inherited UNIX address "
    # nginx, of each large body or response; and before it has read its configuration.
    rb"|[/\d]{10} [:\d]{8} \[warn\] .* is buffered to a temporary file "
    rb"|[/\d]{10} [:\d]{8} \[notice\] \S+ using inherited sockets from "
    rb").*\n",
    re.MULTILINE,
)
# Each hidden line has one of these words: looking for them is a hundred times faster.
_WORDS = (b"uWSGI", b"uwsgi socket", b"buffered to a temporary", b"using inherited")


class LogFilter:
    """shows_all: hide nothing."""

    def __init__(self) -> None:
        self.shows_all = False

    def edit(self, data: bytes) -> bytes:
        """The data without the hidden lines; a line that is not complete stays."""
        if self.shows_all or not any(word in data for word in _WORDS):
            return data
        return _HIDDEN.sub(b"", data)
