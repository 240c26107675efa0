"""An application server on the socket of its generation: its processes, and what they report."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from docker_flask.servers.launch import SOCKET_FD
from docker_flask.shared import notify, process, running_request
from docker_flask.shared.loop import Loop
from docker_flask.shared.running_request import RunningRequest
from docker_flask.supervisor.task import Steps, Until
from docker_flask.supervisor.worker_counts import CRASH, STOP, WorkerCounts

# The descriptors of the server, after its socket, in this order.
NOTIFY_FD, LEAVE_FD, DRAIN_FD = range(SOCKET_FD + 1, SOCKET_FD + 4)


class Order:
    """A pipe by which this process tells all workers of a server something, by closing its end."""

    def __init__(self) -> None:
        self.descriptor, self._end = os.pipe()

    def give(self) -> None:
        """Give the order, once."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1

    def close(self) -> None:
        """Give the order, and forget the pipe."""
        self.give()
        os.close(self.descriptor)


class ServerProcess:
    """pid: of the first process, 0 while none runs. loading: workers that load the application.

    groups: the process groups of this server, and of the crashed servers before it, whose workers
    may still run. leave: the order to close WebSockets. drain: the order to take no more requests.
    note: is called when a worker is ready or has failed, with the message; returns False if the
    worker does not count. counts: of the workers of all servers.
    """

    def __init__(
        self, loop: Loop, note: Callable[[dict[str, Any]], bool], counts: WorkerCounts
    ) -> None:
        self.pid = 0
        self.groups: list[int] = []
        self.loading: set[int] = set()
        # Workers that have loaded, and for those of them that take no more requests: why.
        self._workers: set[int] = set()
        self._retired: dict[int, str] = {}
        # Why a worker ends that has said nothing.
        self._default, self._counts = CRASH, counts
        # The WebSockets of each worker, by its pid.
        self._web_sockets: dict[int, int] = {}
        # Of each worker: threads that outlive their requests, and what to log if they are cut.
        self._threads: dict[int, tuple[int, list[str]]] = {}
        # Slow requests that are not logged yet, with the pid of their worker; and what each worker
        # said last of the requests that it serves, with the time.
        self.slow: list[tuple[int, list[RunningRequest]]] = []
        self.running: dict[int, tuple[float, list[RunningRequest]]] = {}
        self._note = note
        with ExitStack() as opened:
            self.leave = opened.enter_context(closing(Order()))
            self.drain = opened.enter_context(closing(Order()))
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._channel, self.workers_end = map(opened.enter_context, ends)
            self._channel.setblocking(False)
            loop.watch(self._channel, self._on_message)
            opened.callback(loop.forget, self._channel)
            self._close = opened.pop_all().close

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], listener: socket.socket
    ) -> None:
        """Start the server, or start it again; raises OSError."""
        self.loading.clear()
        self._note_ends(self._workers)
        ends = self.workers_end.fileno(), self.leave.descriptor, self.drain.descriptor
        self.pid = process.spawn(command, environment, (listener.fileno(), *ends))
        self.groups.append(self.pid)

    def workers(self) -> set[int]:
        """The living workers that have loaded the application."""
        self._note_ends(pid for pid in self._workers if not process.alive(pid))
        return self._workers

    def _note_ends(self, pids: Iterable[int]) -> None:
        ended = set(pids)
        self._workers = self._workers - ended
        for pid in ended:
            self._counts.note_end(self._retired.pop(pid, self._default))

    def only_finishes(self) -> bool:
        """True if no worker takes requests: MAX_REQUESTS replaces them after endless responses."""
        workers = self.workers()
        return bool(workers) and workers <= self._retired.keys() and not self.loading

    def lost(self) -> list[int]:
        """Workers that ended while they loaded, and could report nothing: os._exit, a kill."""
        lost = [pid for pid in self.loading if not process.alive(pid)]
        self.loading.difference_update(lost)
        return lost

    def web_sockets(self) -> int:
        """Open WebSockets."""
        self._web_sockets = {p: n for p, n in self._web_sockets.items() if n and process.alive(p)}
        return sum(self._web_sockets.values())

    def threads(self) -> int:
        """Threads that requests have started and that outlive them (late_threads.py)."""
        self._threads = {p: t for p, t in self._threads.items() if process.alive(p)}
        return sum(count for count, _ in self._threads.values())

    def lines_about_threads(self) -> list[str]:
        """What to log if these threads are cut."""
        self.threads()
        return [line for _, lines in self._threads.values() for line in lines]

    def has_workers(self) -> bool:
        """True while processes other than the first one run."""
        return len(process.states(self.groups)) > bool(self.pid)

    def stop(self, seconds: float) -> Steps[None]:
        """Stop the server; kill it if it does not stop within these seconds."""
        self._default = STOP
        if self.pid:
            process.signal_process(self.pid, signal.SIGINT)
            # After the workers have ended, the first process has no work left.
            yield Until(lambda: not self.has_workers(), seconds)
        self.kill()

    def kill_processes(self) -> None:
        """Kill the server and all its child processes; it may start again."""
        self._default = STOP
        self._note_ends(self._workers)
        self._default = CRASH
        for group in self.groups:
            process.signal_group(group, signal.SIGKILL)
        self.groups.clear()
        self.pid = 0

    def kill(self) -> None:
        """Kill the server and all its child processes, once."""
        self.kill_processes()
        self._close()

    def _on_message(self) -> None:
        if message := notify.receive(self._channel):
            try:
                self._take(message)
            except notify.INVALID:
                notify.ignore(message)

    def _take(self, message: dict[str, Any]) -> None:
        pid, state = int(message["pid"]), message["state"]
        match state:
            case "web sockets":
                self._web_sockets[pid] = int(message["count"])
            case "threads":
                self.threads()  # forget workers that have ended
                self._threads[pid] = int(message["count"]), list(map(str, message["lines"]))
            case "slow":
                self.slow.append((pid, running_request.from_json(message["requests"])))
            case "running":
                self.running = {p: r for p, r in self.running.items() if process.alive(p)}
                requests = running_request.from_json(message["requests"])
                self.running[pid] = time.monotonic(), requests
            case "loading":
                self.loading.add(pid)
            case "retired":
                self._retired[pid] = message["text"]
            case _:
                counts = self._note(message)
                # With PRELOAD=1, the first process loads.
                self.loading -= {pid, self.pid}
                self._retired.pop(pid, None)
                if counts:
                    self._counts.started += pid not in self._workers
                    self._workers.add(pid)
