"""Granian, as the image runs it: `python -m docker_flask.worker.granian_server OPTIONS`.

Granian can't listen on an inherited socket, and stops when workers die in quick succession. This
module changes both with Granian's internals, so the version matters:
docker_flask/servers/registry.py has the tested version.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import granian._signals
import granian.wsgi
from granian._granian import SocketHolder
from granian._imports import setproctitle
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from docker_flask.process import FIRST_DESCRIPTOR


class Server(MPServer):  # type: ignore[misc]
    """Granian on the supervisor's socket; replaces a worker at once, however it ends."""

    def _init_shared_socket(self) -> None:
        if setproctitle:
            setproctitle.setproctitle("granian master")
        self._sso = socket.socket(fileno=FIRST_DESCRIPTOR)
        self._shd = SocketHolder(FIRST_DESCRIPTOR, True, self.backlog)

    def _drop_shared_socket(self) -> None:
        pass

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        # The supervisor ends this process: it sends INT when no request is active.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait()
            self.main_loop_interrupt.clear()
            while self.interrupt_children:
                index = self.interrupt_children.pop()
                self.wrks[index] = self._spawn_worker(index, spawn_target, target_loader)
                self.wrks[index].start()


def application() -> Callable[..., Any]:
    """The application, as every server of the image loads it, with an early first chunk.

    Granian reads status and headers when the call returns, so the first chunk has to exist then.
    Its `start_response` returns no `write`: what an application writes becomes a part of a chunk.
    """
    from docker_flask.worker.wsgi import application as middleware

    def with_first_chunk(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        written: list[bytes] = []
        environ["wsgi.multiprocess"] = True

        def start(*arguments: Any) -> Callable[[bytes], None]:
            start_response(*arguments)
            return written.append

        chunks = Chunks(middleware(environ, start), written)
        first = next(chunks, b"")
        length = next((v for k, v in start_response.headers if k.lower() == "content-length"), "")
        if length == str(len(first)) or environ["REQUEST_METHOD"] == "HEAD":
            for _ in chunks:  # run the middleware to its end
                pass
            return [first]
        written.append(first)
        return chunks

    return with_first_chunk


class Chunks:
    """An iterator that puts what was written before the next chunk of another iterator."""

    def __init__(self, chunks: Iterator[bytes], written: list[bytes]) -> None:
        self._chunks, self._written = chunks, written

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> bytes:
        if not self._written:
            chunk = next(self._chunks, None)
            if chunk is not None:
                self._written.append(chunk)
            elif not self._written:
                raise StopIteration
        data = b"".join(self._written)
        self._written.clear()
        return data

    def close(self) -> None:
        """End the application's iterator, because the client has left."""
        self._chunks.close()  # type: ignore[attr-defined]


def set_worker_signals(handler: Callable[..., None]) -> None:
    """Let the first TERM or INT end a worker, and ignore further ones.

    At the second signal, Granian's handler may never return, and it keeps the interpreter's lock:
    the worker hangs with its requests.
    """
    numbers = signal.SIGINT, signal.SIGTERM

    def end(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, lambda *_: None)
        handler(number, frame)

    for each in numbers:
        signal.signal(each, end)


def main() -> None:
    """Run the server."""
    granian._signals.set_main_signals = set_worker_signals
    options = json.loads(sys.argv[1])
    multiprocessing.set_start_method("fork")
    # Granian would add the variables of its process, secrets too, to the WSGI environment.
    granian.wsgi.os = SimpleNamespace(environ={})
    Server(
        "docker_flask.worker.wsgi:application",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        log_level=LogLevels(options.pop("log_level")),
        process_name=setproctitle and "granian",
        **options,
    ).serve(target_loader=application, wrap_loader=False)


if __name__ == "__main__":
    main()
