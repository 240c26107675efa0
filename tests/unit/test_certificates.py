"""How a certificate from files is followed, and when the log names its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.tls.certificates import DAY, INTERVAL, Certificates
from tests.support import certificates, plans


class Clock(SimpleNamespace):
    """In place of the module `time`: it stands still until a test advances it."""

    strftime, gmtime = time.strftime, time.gmtime
    now = time.time()

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("docker_flask.tls.certificates.time", clock)
    return clock


def started(folder: Path, days: float = 90) -> Certificates:
    """As process 1 has it after the start."""
    certificates.write(folder / "certs", days=days)
    made = Certificates(folder)
    made.start(plans.make(TLS_CERTIFICATE=str(folder / "certs")).settings)
    return made


def looks(made: Certificates, clock: Clock, number: int = 4) -> list[bool]:
    """What some looks in a row say."""
    found = []
    for _ in range(number):
        clock.now += INTERVAL
        found.append(made.look())
    return found


def test_the_log_names_the_end_on_certain_days(
    tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    made, begun, warned = started(tmp_path, days=90), clock.now, []
    capfd.readouterr()
    while (left := begun + 90 * DAY - clock.now) > -2 * DAY:
        made.look()
        lines = capfd.readouterr().err.splitlines()
        warned += [math.ceil(left / DAY) for line in lines if "no new one yet" in line]
        clock.now += DAY / 8
    assert warned == [14, 3, 2, 1, 0, -1]


Change = Callable[[bytes, bytes], tuple[bytes | None, bytes | None]]
BAD: dict[str, Change] = {
    "half written": lambda pem, key: (pem[: len(pem) // 2], key),
    "empty": lambda pem, key: (b"", key),
    "without its key": lambda pem, key: (pem, None),
    "of another key": lambda pem, key: (
        pem,
        certificates.ROOT.create_child_ca().private_key_pem.bytes(),
    ),
    "removed": lambda pem, key: (None, key),
}


@pytest.mark.parametrize("bad", [*BAD, "expired"])
def test_a_bad_certificate_is_one_line(
    bad: str, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    made, certs = started(tmp_path), tmp_path / "certs"
    kept = made.folder
    pair = certs / "tls.crt", certs / "tls.key"
    certificates.write(certs, days=-1 if bad == "expired" else 90)
    if bad in BAD:
        for path, content in zip(pair, BAD[bad](*(p.read_bytes() for p in pair)), strict=True):
            path.unlink() if content is None else path.write_bytes(content)
    capfd.readouterr()
    assert not any(looks(made, clock))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("docker-flask: keeping the previous certificate: TLS_CERTIFICATE=")
    assert made.folder == kept
    assert kept.joinpath("key.pem").exists()
    certificates.write(certs)
    assert looks(made, clock) == [False, True, False, False]  # complete after one look
