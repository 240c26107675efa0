"""Which threads the end of a worker waits for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from docker_flask.worker.server import late_threads
from docker_flask.worker.server.late_threads import LateThreads
from tests.support.harness import wait_for


class Worker:
    """A worker with late threads; end: lets those end that wait for it."""

    def __init__(self, timeout: float = 60) -> None:
        self.reports: list[tuple[int, list[str]]] = []
        self.threads = LateThreads(timeout, lambda *report: self.reports.append(report))
        self.threads.start()
        self.begun, self.end = threading.Event(), threading.Event()

    def work(self) -> None:
        self.begun.set()
        while not self.end.wait(0.01):
            pass

    def thread(self, target: Callable[[], Any]) -> None:
        threading.Thread(target=target, daemon=True).start()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.end.set()


def test_a_new_thread_is_reported_at_the_end_of_its_request_and_at_its_own(worker: Worker) -> None:
    worker.threads.check()
    assert worker.reports == []
    worker.thread(worker.work)
    worker.threads.check()
    (report,) = worker.reports
    assert report[0] == 1
    assert "(work)" in report[1][0]
    worker.end.set()
    wait_for(lambda: not worker.threads.look(), 5, "the end of the thread")
    assert worker.reports[-1] == (0, [])


def test_threads_that_wait_for_work_do_not_count(worker: Worker) -> None:
    work: queue.Queue[None] = queue.Queue()
    worker.thread(work.get)
    pool = ThreadPoolExecutor(1)
    for _ in range(100):
        pool.submit(int).result()
        wait_for(lambda: not worker.threads.look(), 5, "threads that wait")
        working = pool.submit(worker.work)
        assert worker.begun.wait(5)
        worker.threads.check()
        assert worker.reports[-1][0] == 1, "the thread of the pool works again"
        worker.end.set()
        working.result()
        worker.end.clear()
        worker.begun.clear()
    work.put(None)


def test_a_thread_with_work_in_its_queue_is_not_idle() -> None:
    """It will wake up."""
    for waiting in (queue.Queue[int](), queue.SimpleQueue[int]()):
        assert late_threads._length(waiting) == 0
        waiting.put(1)
        assert late_threads._length(waiting) == 1
    assert late_threads._length([1]) == 0


def test_a_thread_that_works_for_longer_than_a_request_may_is_only_named() -> None:
    worker = Worker(timeout=0.01)
    worker.thread(worker.work)
    wait_for(lambda: not worker.threads.look(), 5, "the end of its time")
    assert len(worker.reports[-1][1]) == 1
    with ThreadPoolExecutor(1) as pool:
        pool.submit(worker.work)
        wait_for(lambda: worker.threads.look() == 1, 5, "the work of a pool, which is always new")
        worker.end.set()


def in_module(name: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """A function of a module, which calls another one."""
    names: dict[str, Any] = {"__name__": name, "call": call}
    exec("def function():\n    call()", names)  # noqa: S102
    return names["function"]


def test_threads_from_before_do_not_count(worker: Worker) -> None:
    worker.thread(worker.work)
    assert Worker().threads.look() == 0


@pytest.mark.parametrize(
    ("module", "count"),
    [
        ("engineio.socket", 0),
        ("pymongo.periodic_executor", 0),
        ("sentry_sdk.monitor", 0),
        ("shop.mail", 1),
    ],
)
@pytest.mark.parametrize("caller", ["", "sentry_sdk.integrations.threading"])
def test_threads_of_some_libraries_do_not_count(
    worker: Worker, module: str, count: int, caller: str
) -> None:
    begun = threading.Event()

    def work() -> None:
        begun.set()
        worker.work()

    target = in_module(module, work)
    worker.thread(in_module(caller, target) if caller else target)
    assert begun.wait(5)
    assert worker.threads.look() == count
