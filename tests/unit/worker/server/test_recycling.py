"""How a worker asks its server for its replacement."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from docker_flask.worker.server.worker_process import WorkerProcess


def test_the_calling_thread_gets_the_signal() -> None:
    """uWSGI cuts the response of another thread, if that thread waits for its reader."""
    elsewhere: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: elsewhere.append(number))

    def retire() -> bool:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        WorkerProcess(signal.SIGUSR1).retire("requests")
        return signal.SIGUSR1 in signal.sigpending()

    try:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(retire).result()
        assert not elsewhere
    finally:
        signal.signal(signal.SIGUSR1, before)
