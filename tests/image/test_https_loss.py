"""Nothing is lost over HTTPS either: the rows of test_loss.py, by HTTP/1.1 and HTTP/2 together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import certificates
from tests.support.harness import Engine, wait_for
from tests.support.loss import Service
from tests.support.loss_checker.result import Result, Verdict
from tests.support.marks import at_night

# Requests a second: one connection each, kept connections, HTTP/2. A machine with two busy CPUs
# carries them, handshakes included.
LOADS = {"new": 40, "keepalive": 100, "h2": 100}
SETTLE = 1.5  # s of load before and after what is done


def start(engine: Engine, folder: Path) -> Service:
    """The checked application with HTTPS; its certificate is in the folder `certs`."""
    certificates.write(folder / "certs")
    env = {"TLS_CERTIFICATE": "/certs", "TLS_REDIRECT": "0"}
    volumes = certificates.mounted(folder / "certs")
    return Service(engine, folder, env=env, volumes=volumes, ports=certificates.PORTS)


@pytest.fixture
def service(engine: Engine, tmp_path: Path) -> Service:
    """A container for each test."""
    return start(engine, tmp_path)


@contextlib.contextmanager
def under_load(service: Service) -> Iterator[dict[str, Result]]:
    """Put all loads on HTTPS; afterwards, the results are there."""
    results: dict[str, Result] = {}
    with contextlib.ExitStack() as stack:
        running = {
            mode: stack.enter_context(
                service.load(mode=mode, rate=rate, url="https://127.0.0.1/", seconds=600)
            )
            for mode, rate in LOADS.items()
        }
        time.sleep(SETTLE)
        yield results
        time.sleep(SETTLE)
        results |= {mode: load.finish() for mode, load in running.items()}


def check_that_nothing_is_lost(
    service: Service, results: dict[str, Result], stopped: bool = False
) -> None:
    """Each request was answered, or HTTP/2 said that it was not processed; at a stop, refused."""
    verdicts = service.verdicts(*results.values(), ended_by_itself=stopped)
    print(verdicts.tries, {name: count for name, count in verdicts.rows().items() if count})
    assert verdicts.lost() == []
    assert verdicts.most_runs <= 2
    for mode, result in results.items():
        failed = [one for one in result.records if one.verdict != Verdict.OK]
        assert len(result.records) - len(failed) > 50, result.counts
        if not stopped:
            assert {one.detail for one in failed} <= ({"GOAWAY"} if mode == "h2" else set())


def swap(service: Service) -> None:
    """Another certificate is served soon."""
    new = certificates.write(service.app.parent / "certs")
    certificates.wait_until_served(service.container, new)


def reload(service: Service) -> None:
    """New code."""
    service.set_version("2")
    service.container.reload()
    assert "version=2\n" in service.container.get("/").text


def broken_reload(service: Service) -> None:
    """Code that can't be loaded."""
    (service.app / "app.py").write_text("import nothing_of_that_name\n")
    assert service.container.execute("docker-flask", "reload")[0] == 1


def kill(role: str) -> Callable[[Service], None]:
    """SIGKILL of a process, which is replaced."""

    def once(service: Service) -> None:
        (victim, *_) = before = service.processes(role)
        service.signal("KILL", victim)

        def is_replaced() -> bool:
            now = service.processes(role)
            return victim not in now and len(now) == len(before)

        wait_for(is_replaced, 5, f"another {role}")

    return once


DEEDS = {
    "swap": swap,
    "reload": reload,
    "broken reload": broken_reload,
    "killed worker": kill("app worker"),
    "killed nginx": kill("nginx master"),
}


@pytest.mark.timed
@pytest.mark.parametrize(
    "deed",
    ["swap", "reload", "killed worker", "killed nginx", *at_night("broken reload")],
)
def test_nothing_is_lost(service: Service, deed: str) -> None:
    with under_load(service) as results:
        DEEDS[deed](service)
    check_that_nothing_is_lost(service, results)


@pytest.mark.timed
def test_stop_under_load_loses_nothing(service: Service) -> None:
    with under_load(service) as results:
        code, _ = service.container.stop()
    assert code == 0
    check_that_nothing_is_lost(service, results, stopped=True)
