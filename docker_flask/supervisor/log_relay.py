"""Relays the log to the container's stdout and stderr, and drops lines if their reader is too slow.

It also drops what servers say about themselves (log_filter.py).

A process blocks when it writes to a full pipe; if nginx blocked, the whole service would stop. All
processes therefore write to pipes that this module always reads. Only the relay's thread waits for
the reader of the container's stdout and stderr.
"""

from __future__ import annotations

import os
import re
import select
import threading
import time
import traceback
from collections.abc import Callable

_BLOCK_SIZE = 65536
# Bytes to buffer for a slow reader of one stream, before the relay drops output.
_MAX_BUFFER = 1 << 20
# Seconds between two reads of short pieces. Under too much load, nginx writes thousands of lines a
# second; one by one, they would cost a fifth of the processor time.
_PAUSE = 0.002

# Characters of UTF-8; the control characters U+0080 to U+009F, and single bytes that terminals take
# for these; and the begin of a character at the end of a block.
_NOT_ASCII = re.compile(rb"\xc2[\xa0-\xbf]|[\xc3-\xf4][\x80-\xbf]{1,3}|(\xc2?[\x80-\x9f])")
_CUT = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")


class LogRelay:
    """Replaces descriptors 1 and 2 with pipes, and copies the pipes to the original files.

    edit: removes lines.
    """

    def __init__(self, edit: Callable[[bytes], bytes]) -> None:
        self._streams = [_Stream(1, edit), _Stream(2, edit)]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 1.0) -> None:
        """Write the buffered output after the last writer has ended; waits up to these seconds."""
        for stream in self._streams:
            stream.detach()
        self._thread.join(seconds)

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


def without_controls(data: bytes) -> bytes:
    """Text with \\x9B in place of the control character U+009B.

    nginx passes on what clients send, and terminals obey.
    """

    def visible(match: re.Match[bytes]) -> bytes:
        return b"\\x%02X" % match[1][-1] if match[1] else match[0]

    return _NOT_ASCII.sub(visible, data)


class _Stream:
    """stdout or stderr: the pipe that processes write to, and the original file."""

    def __init__(self, number: int, edit: Callable[[bytes], bytes]) -> None:
        self.target = os.dup(number)
        # No other process inherits this descriptor, so no other process is affected.
        os.set_blocking(self.target, False)
        self.source, writer = os.pipe()
        os.dup2(writer, number)
        os.close(writer)
        self.buffer = b""
        self._number = number
        self._edit = edit
        self._has_failed = False
        self._dropped = 0
        self._cut = b""
        # True if a read filled its block, and the pipe may have more.
        self.is_full = False

    def detach(self) -> None:
        """Close this process's end of the pipe: point the descriptor at /dev/null."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._number)
        os.close(nowhere)

    def read(self) -> bool:
        """Read from the pipe; returns False at its end."""
        data = self._cut + os.read(self.source, _BLOCK_SIZE)
        is_open = len(data) > len(self._cut)
        self.is_full = len(data) >= _BLOCK_SIZE
        self._cut = b""
        if not data.isascii():
            if is_open and (cut := _CUT.search(data)):
                data, self._cut = data[: cut.start()], cut[0]
            data = without_controls(data)
        try:
            data = self._edit(data)
        except Exception:  # a bug there: all lines are shown
            if not self._has_failed:
                self._has_failed = True
                data = traceback.format_exc().encode() + data
        if len(self.buffer) > _MAX_BUFFER:
            self._dropped += len(data)
        else:
            if self._dropped and not self.buffer:
                what = f"dropped {self._dropped} bytes of log output: the reader is too slow"
                data, self._dropped = f"docker-flask: {what}\n".encode() + data, 0
            self.buffer += data
            self.write()
        return is_open

    def write(self) -> None:
        """Write as much of the buffer as the reader accepts; drop it if the reader has gone."""
        try:
            while self.buffer:
                self.buffer = self.buffer[os.write(self.target, self.buffer) :]
        except BlockingIOError:
            pass
        except OSError:
            self.buffer = b""
