"""Relays the log to the container's stdout and stderr, and drops lines if their reader is too slow.

It also hides what servers say about themselves, unless LOG_LEVEL=debug, and control characters.

A process blocks when it writes to a full pipe; if nginx blocked, the whole service would stop. All
processes therefore write to pipes that this module always reads. Only the relay's thread waits for
the reader of the container's stdout and stderr.
"""

import codecs
import os
import re
import select
import threading
import time
import traceback

_BLOCK_SIZE = 65536
# Bytes to buffer for a slow reader of one stream, before the relay drops output.
_MAX_BUFFER = 1 << 20
# Seconds between two reads of short pieces. Under too much load, nginx writes thousands of lines a
# second; one by one, they would cost a fifth of the processor time.
_PAUSE = 0.002
# What clients send and terminals obey, but no colours or line ends; \u001b is valid in JSON too.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\r(?!\n|\\Z)|\x1b(?!\\[[0-9;]*m)"
)
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n"

# uWSGI writes all its lines with one function, which has no levels. In app.ini, `log-date` puts
# the first word before each of them, so that no line of the application is taken for one of
# uWSGI's. A line with one of these words is shown: a warning, an error, a backtrace.
_TROUBLE = (
    rb"WARNING|DAMN|FATAL|!!!|rror|nable to|nknown|nvalid|nrecognized|ailed|denied|killed by"
    rb"|non-zero|not |n't|no app|o such|issing|must |\w\(\): |\+0x"
)
_HIDDEN = re.compile(
    rb"^(?:uWSGI - (?!.*(?:" + _TROUBLE + rb"))"
    # Of each thread, if the first process was killed; the supervisor logs that.
    rb"|uWSGI - .* error: the master disconnected from this worker"
    # Before uWSGI has read its options.
    rb"|\[uWSGI\] getting INI configuration from |uwsgi socket \d+ inherited UNIX address "
    # nginx, of each large body or response; and before it has read its configuration.
    rb"|[/\d]{10} [:\d]{8} \[warn\] .* is buffered to a temporary file "
    rb"|[/\d]{10} [:\d]{8} \[notice\] \S+ using inherited sockets from "
    # The queue is full: process 1 logs how many requests are refused.
    rb"|[/\d]{10} [:\d]{8} \[error\] \S+ \*\d+ connect\(\) to unix:\S+ failed \(11: "
    rb").*\n",
    re.MULTILINE,
)
# Each hidden line has one of these words: looking for them is a hundred times faster.
_WORDS = (
    b"uWSGI",
    b"uwsgi socket",
    b"buffered to a temporary",
    b"using inherited",
    b"failed (11: ",
)


class LogRelay:
    """Replaces descriptors 1 and 2 with pipes, and copies the pipes to the original files.

    shows_all: hide nothing of what servers say about themselves.
    """

    def __init__(self) -> None:
        self.shows_all = False
        self._streams = [_Stream(1, self), _Stream(2, self)]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write the buffered output after the last writer has ended; waits a second at most."""
        for stream in self._streams:
            stream.detach()
        self._thread.join(1.0)

    def _run(self) -> None:
        poll = select.poll()
        for stream in self._streams:
            poll.register(stream.source, select.POLLIN)
        open_streams = set(self._streams)
        while open_streams:
            for stream in open_streams:
                if stream.buffer:
                    poll.register(stream.target, select.POLLOUT)
            for descriptor, _ in poll.poll():
                for stream in list(open_streams):
                    if descriptor == stream.target:
                        poll.unregister(descriptor)
                        stream.write()
                    elif descriptor == stream.source and not stream.read():
                        poll.unregister(descriptor)
                        open_streams.discard(stream)
            if not any(stream.is_full for stream in open_streams):
                time.sleep(_PAUSE)


def hide_servers(data: bytes) -> bytes:
    """The data without what servers say about themselves; a line that is not complete stays."""
    return _HIDDEN.sub(b"", data) if any(word in data for word in _WORDS) else data


class _Stream:
    """stdout or stderr: the pipe that processes write to, and the original file."""

    def __init__(self, number: int, relay: LogRelay) -> None:
        self.target = os.dup(number)
        # No other process inherits this descriptor, so no other process is affected.
        os.set_blocking(self.target, False)
        self.source, writer = os.pipe()
        os.dup2(writer, number)
        os.close(writer)
        self.buffer = b""
        self._number = number
        self._relay = relay
        self._dropped = 0
        # Bytes that are no UTF-8 are shown as \\x9b.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        # True if a read filled its block, and the pipe may have more.
        self.is_full = False

    def detach(self) -> None:
        """Close this process's end of the pipe: point the descriptor at /dev/null."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._number)
        os.close(nowhere)

    def read(self) -> bool:
        """Read from the pipe; returns False at its end."""
        data = os.read(self.source, _BLOCK_SIZE)
        is_open = bool(data)
        self.is_full = len(data) == _BLOCK_SIZE
        try:
            data = self._edit(data)
        except Exception:  # a bug there: all lines are shown
            data = traceback.format_exc().encode() + data
        if len(self.buffer) > _MAX_BUFFER:
            if not self.buffer.endswith(b"\n"):  # for the line below
                self.buffer += b"\n"
            self._dropped += len(data)
        else:
            if self._dropped and not self.buffer:
                what = f"dropped {self._dropped} bytes of log output: the reader is too slow"
                data, self._dropped = f"docker-flask: {what}\n".encode() + data, 0
            self.buffer += data
            self.write()
        return is_open

    def _edit(self, data: bytes) -> bytes:
        has_cut_character = bool(self._decoder.getstate()[0])
        if has_cut_character or data.translate(None, _PLAIN):
            text = self._decoder.decode(data, final=not data)
            data = _CONTROLS.sub(lambda control: f"\\u{ord(control[0]):04x}", text).encode()
        return data if self._relay.shows_all else hide_servers(data)

    def write(self) -> None:
        """Write as much of the buffer as the reader accepts; drop it if the reader has gone."""
        try:
            while self.buffer:
                self.buffer = self.buffer[os.write(self.target, self.buffer) :]
        except BlockingIOError:
            pass
        except OSError:
            self.buffer = b""
