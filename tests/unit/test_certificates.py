"""How a certificate from files is followed, and when the log names its end."""

from __future__ import annotations

import math
import time
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


def test_the_log_names_the_end_on_each_of_the_last_days(
    tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    made, begun, warned = started(tmp_path, days=90), clock.now, []
    capfd.readouterr()
    while (left := begun + 90 * DAY - clock.now) > -2 * DAY:
        made.look()
        lines = capfd.readouterr().err.splitlines()
        warned += [math.ceil(left / DAY) for line in lines if "no new one yet" in line]
        clock.now += DAY / 8
    assert warned == list(range(14, -2, -1))


@pytest.mark.parametrize("file", ["tls.crt", "tls.key"])
def test_a_bad_certificate_is_one_line(
    file: str, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half written, or gone; other kinds: test_certificate.py."""
    made, certs = started(tmp_path), tmp_path / "certs"
    kept = made.folder
    certificates.write(certs)
    half = (certs / file).read_bytes()[:300]
    (certs / file).write_bytes(half) if file == "tls.crt" else (certs / file).unlink()
    capfd.readouterr()
    assert not any(looks(made, clock))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("docker-flask: keeping the previous certificate: TLS_CERTIFICATE=")
    assert made.folder == kept
    assert kept.joinpath("key.pem").exists()
    certificates.write(certs)
    assert looks(made, clock) == [False, True, False, False]  # complete after one look
    (certs / "tls.key").chmod(0o640)  # as the log advises after `uid 33 can't read the file`
    assert looks(made, clock) == [False, True, False, False]
