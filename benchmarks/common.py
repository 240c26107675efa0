"""What all measurements share: their options, containers, folders, and tables in Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.support.harness import (
    BASE_IMAGE,
    NO_TLS,
    ROOT,
    Container,
    Engine,
    docker_client,
    trust_in_builds,
)

PEERS = ROOT / "benchmarks/peers"
BUILD_SECONDS = 900
PASSED_ON = ("PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")


def parser(doc: str | None, **defaults: float) -> argparse.ArgumentParser:
    """A command line with an option for each number that can be lower for a quick check."""
    # Ended from outside, a measurement removes its containers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    words = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    for name, default in defaults.items():
        words.add_argument(f"--{name}", type=type(default), default=default, help=f"{default}")
    return words


@contextmanager
def engine(name: str) -> Iterator[Engine]:
    """An engine whose containers are removed at the end."""
    used = Engine(f"{name}-{secrets.token_hex(4)}")
    try:
        yield used
    finally:
        used.remove_containers()
        used.client.close()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that any user of a container may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Subject:
    """An image, this one or a peer's, and the application that it serves."""

    def __init__(self, used: Engine, image: str, app: Path) -> None:
        self.engine, self.image, self.app = used, image, app

    @contextmanager
    def running(self, wait: float = 0, **options: Any) -> Iterator[Container]:
        """A container, after it serves or after `wait` seconds; options are those of Engine.run."""
        try:
            container = self.engine.run(image=self.image, **{"app": self.app, **options})
            if wait:
                with suppress(AssertionError):
                    container.wait_until_serving(seconds=wait)
            yield container
        finally:
            self.engine.remove_containers()


def build_peer(name: str) -> str:
    """Build the image of a peer, a folder of peers/, on the base of this image; returns its tag."""
    tag = f"docker-flask-peer-{name}"
    words = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--tag", tag, *trust_in_builds()]
    words += [f"--build-arg={variable}" for variable in PASSED_ON if os.environ.get(variable)]
    built = docker_client("build", *words, str(PEERS / name), seconds=BUILD_SECONDS)
    if built.returncode:
        raise RuntimeError(f"{tag} can't be built:\n{built.stdout}{built.stderr}")
    return tag


def about(used: Engine) -> str:
    """Where and when something is measured, and with what."""
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()} with {os.cpu_count()} "
        f"CPUs, base image `{BASE_IMAGE}`, engine {used.client.version()['Version']}."
    )


def print_row(*cells: object) -> None:
    """A row of a table, at once, because the next one can take minutes."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def print_head(*names: str) -> None:
    """The first two lines of a table."""
    print()
    print_row(*names)
    print("|---" * len(names) + "|")


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Iterable[float], unit: str = "") -> str:
    """Median, least and greatest."""
    values = list(values)
    least, greatest = min(values), max(values)
    middle = f"{number(statistics.median(values))} {unit}".strip()
    return middle if least == greatest else f"{middle} ({number(least)} - {number(greatest)})"


def report(message: object) -> None:
    """What happens now, beside the table."""
    print(message, file=sys.stderr, flush=True)


def serves(url: str) -> bool:
    """Whether the response to a request is a good one."""
    try:
        return httpx.get(url, timeout=10, verify=NO_TLS, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_for_jobs(done: Callable[[], int], goal: int, idle: float = 60.0) -> None:
    """Wait until `goal` jobs are done, or no job has ended for `idle` seconds: the rest is lost.

    idle: longer than Celery's visibility_timeout in tests/apps/jobs/tasks.py, after which jobs of
    killed workers come back.
    """
    before, last = -1, time.monotonic()
    while (now := done()) < goal and time.monotonic() - last < idle:
        if now > before:
            before, last = now, time.monotonic()
        time.sleep(0.5)
