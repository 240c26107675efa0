"""Granian, as the image runs it: `python -m docker_flask.worker.granian_server OPTIONS`.

Runs in the application's Python. Granian can't listen on a socket that it inherits, and gives up
when workers die in quick succession; both are put right here, with what it has inside, so that the
version matters (docker_flask/servers/servers.py has the one that was tested).
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from granian._granian import SocketHolder
from granian._imports import setproctitle
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from docker_flask.process import FIRST_DESCRIPTOR


class Server(MPServer):  # type: ignore[misc]
    """Granian on the supervisor's socket, whose workers are replaced at once, however they end."""

    def _init_shared_socket(self) -> None:
        if setproctitle:
            setproctitle.setproctitle("granian master")
        self._sso = socket.socket(fileno=FIRST_DESCRIPTOR)
        self._shd = SocketHolder(FIRST_DESCRIPTOR, True, self.backlog)

    def _drop_shared_socket(self) -> None:
        pass

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        # Leave the end to the supervisor, which sends INT when nothing is in flight.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait()
            self.main_loop_interrupt.clear()
            while self.interrupt_children:
                index = self.interrupt_children.pop()
                self.wrks[index] = self._spawn_worker(index, spawn_target, target_loader)
                self.wrks[index].start()


def application() -> Callable[..., Any]:
    """The application, as every server of the image loads it, and as Granian calls it.

    Granian reads status and headers once the call has returned, so the application has to have
    begun by then.
    """
    from docker_flask.worker.wsgi import application as guarded

    def begun(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        chunks = guarded(environ, start_response)
        first = next(chunks, b"")
        length = next((v for k, v in start_response.headers if k.lower() == "content-length"), "")
        if length == str(len(first)) or environ["REQUEST_METHOD"] == "HEAD":
            for _ in chunks:  # it ends here
                pass
            return [first]
        return Rest(first, chunks)

    return begun


class Rest:
    """An iterator that still gives its first item."""

    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._first: bytes | None = first
        self._chunks = chunks

    def __iter__(self) -> Rest:
        return self

    def __next__(self) -> bytes:
        if self._first is None:
            return next(self._chunks)
        first, self._first = self._first, None
        return first

    def close(self) -> None:
        """Tell the application that nobody reads on."""
        self._chunks.close()  # type: ignore[attr-defined]


def main() -> None:
    """Run the server."""
    multiprocessing.set_start_method("fork")
    Server(
        "docker_flask.worker.wsgi:application",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        log_level=LogLevels.warn,
        process_name=setproctitle and "granian",
        **json.loads(sys.argv[1]),
    ).serve(target_loader=application, wrap_loader=False)


if __name__ == "__main__":
    main()
