"""Replaces a worker that reaches MAX_REQUESTS or MAX_WORKER_MEMORY."""

import math
import os
import random

from docker_flask.log import log
from docker_flask.worker.worker_process import WorkerProcess, resident_memory


class Recycling:
    """Counts the requests of a worker; max_requests, max_memory (bytes): 0 for no limit."""

    def __init__(self, max_requests: int, max_memory: int, worker: WorkerProcess) -> None:
        self._max_requests = max_requests
        self._max_memory = max_memory
        self._worker = worker
        self._left = math.inf

    def start(self) -> None:
        """Choose this worker's share of MAX_REQUESTS: random, so that workers end one by one."""
        if self._max_requests:
            least = math.ceil(self._max_requests / 2)
            self._left = random.randint(least, self._max_requests)  # noqa: S311 (no secret)

    def count(self) -> None:
        """Count a request at its end, and retire the worker if this request was its last."""
        if self._worker.retired:
            return
        self._left -= 1
        memory = resident_memory() if self._max_memory else 0
        if self._left <= 0:
            reason = f"reached its share of MAX_REQUESTS={self._max_requests}"
        elif memory > self._max_memory:
            limit = self._max_memory >> 20
            reason = f"uses {memory >> 20} MiB, more than MAX_WORKER_MEMORY={limit}m"
        else:
            return
        self._worker.retire()
        log(f"worker {os.getpid()} {reason}; replacing the worker")
