"""The container's log, kept from stopping the service: what nobody reads is dropped.

A process that writes to a pipe that is full blocks, and with nginx the whole service does. So
everything below the supervisor writes to pipes that are always read here, and only this thread
waits for whoever reads the container's stdout and stderr.
"""

from __future__ import annotations

import os
import select
import threading

_BLOCK = 65536
# What is kept for a reader that is slow, per stream, before lines are dropped.
_KEPT = 1 << 20


class LogRelay:
    """Puts itself between descriptors 1 and 2 and what they led to."""

    def __init__(self) -> None:
        self._streams = [_Stream(1), _Stream(2)]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 1.0) -> None:
        """Pass on what is left, once nobody writes any more; wait no longer than so."""
        for stream in self._streams:
            stream.let_go()
        self._thread.join(seconds)

    def _run(self) -> None:
        poll = select.poll()
        for stream in self._streams:
            poll.register(stream.source, select.POLLIN)
        open_streams = set(self._streams)
        while open_streams:
            for stream in open_streams:
                if stream.kept:
                    poll.register(stream.target, select.POLLOUT)
            for descriptor, _ in poll.poll():
                for stream in list(open_streams):
                    if descriptor == stream.target:
                        poll.unregister(descriptor)
                        stream.write()
                    elif descriptor == stream.source and not stream.read():
                        poll.unregister(descriptor)
                        open_streams.discard(stream)


class _Stream:
    """One of stdout and stderr: the pipe that is written to, and where it leads."""

    def __init__(self, number: int) -> None:
        self.target = os.dup(number)
        # Only this process has it from now on, so nobody else sees that it does not block.
        os.set_blocking(self.target, False)
        self.source, writer = os.pipe()
        os.dup2(writer, number)
        os.close(writer)
        self.kept = b""
        self._number = number
        self._dropped = 0

    def let_go(self) -> None:
        """Write to it no more from this process."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._number)
        os.close(nowhere)

    def read(self) -> bool:
        """Take what was written; False at its end."""
        data = os.read(self.source, _BLOCK)
        if len(self.kept) > _KEPT:
            self._dropped += len(data)
        else:
            if self._dropped and not self.kept:
                what = f"dropped {self._dropped} bytes of log output: the reader is too slow"
                data, self._dropped = f"docker-flask: {what}\n".encode() + data, 0
            self.kept += data
            self.write()
        return bool(data)

    def write(self) -> None:
        """Pass on what its reader takes; what can't be written any more is dropped."""
        try:
            while self.kept:
                self.kept = self.kept[os.write(self.target, self.kept) :]
        except BlockingIOError:
            pass
        except OSError:
            self.kept = b""
