"""Measure what HTTPS costs: requests on kept connections, full handshakes, the start.

python -m benchmarks.https
"""

from __future__ import annotations

import re
import ssl
import statistics
import subprocess
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks import common
from benchmarks.measure import Cgroup, rest
from tests.support.harness import IMAGE, Container, Engine, command_in_netns, wait_for
from tests.support.loss_checker.result import percentile

CONNECTIONS = 64
CPU, P99 = "CPU µs/request", "p99 ms"
PROTOCOLS = {"HTTP/1.1": "http --h1", "HTTPS, HTTP/1.1": "https --h1", "HTTPS, HTTP/2": "https"}
# nginx alone, as it is by default.
BARE = """daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 1024; }
http { access_log off; server { listen 443 ssl; return 204;
ssl_certificate /certs/tls.crt; ssl_certificate_key /certs/tls.key; } }
"""


def make_certificate(folder: Path) -> None:
    """A certificate that signs itself, as Let's Encrypt's by default: ECDSA, P-256."""
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=localhost"
    )
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    for file in folder.iterdir():
        file.chmod(0o644)
    (folder / "nginx.conf").write_text(BARE)


def start(engine: Engine, folder: Path, tls: bool = True, **options: Any) -> Container:
    """A container of the image, with a fixed number of workers."""
    env = {"WEB_CONCURRENCY": "2", "ACCESS_LOG": "0", "TLS_REDIRECT": "0"}
    if tls:
        env["TLS_CERTIFICATE"] = "/certs"
    volumes = {str(folder): {"bind": "/certs", "mode": "ro"}}
    return engine.run(image=IMAGE, env=env, volumes=volumes, ports={}, **options)


def address(container: Container) -> str:
    container.docker.reload()
    return str(container.docker.attrs["NetworkSettings"]["IPAddress"])


def first_200(engine: Engine, folder: Path, tls: bool) -> float:
    """Seconds from `docker run` to the first response."""
    begun = time.monotonic()
    container = start(engine, folder, tls)
    trust = ssl._create_unverified_context()  # noqa: S323 (the certificate is ours)
    url = f"{'https' if tls else 'http'}://{address(container)}/"

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(url, verify=trust, trust_env=False).status_code == 200
        return False

    wait_for(answers, 30, "the first 200", every=0.01)
    took = time.monotonic() - begun
    engine.remove_containers()
    return took


def load(container: Container, words: str, log: Path, seconds: float) -> dict[str, float]:
    """Requests on kept connections, by nghttp2's load generator."""
    scheme, *options = words.split()
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", f"-c{CONNECTIONS}", f"-D{seconds:g}", f"--log-file={log}", *options]
    rest(container)
    cgroup = Cgroup(container.pid)
    before = cgroup.cpu()
    url = f"{scheme}://127.0.0.1/"
    subprocess.run(
        command_in_netns(container.pid, [*command, url]), check=True, capture_output=True
    )
    cpu = cgroup.cpu() - before
    rows = [line.split() for line in log.read_text().splitlines()]
    times = [int(took) / 1e3 for _, status, took in rows if status == "200"]
    return {CPU: cpu / len(times) * 1e6, P99: percentile(times, 99) or 0.0}


def handshake(container: Container, seconds: float) -> float:
    """CPU time (µs) of a full handshake."""
    rest(container)
    cgroup = Cgroup(container.pid)
    before = cgroup.cpu()
    words = ["openssl", "s_time", "-new", "-connect", "127.0.0.1:443", "-time", f"{seconds:.0f}"]
    done = subprocess.run(
        command_in_netns(container.pid, words), check=True, capture_output=True, text=True
    )
    (count,) = re.findall(r"(\d+) connections in \d+ real", done.stdout)
    return (cgroup.cpu() - before) / int(count) * 1e6


def main() -> None:
    """Print the tables."""
    options = common.parser(__doc__, rounds=7, seconds=3).parse_args()
    with common.engine("https") as engine, common.folder() as folder:
        make_certificate(folder)
        print(f"{common.about(engine)} {options.rounds} rounds, in turns.")
        found: dict[str, list[float]] = defaultdict(list)
        for _ in range(options.rounds):
            for name, tls in (("HTTP", False), ("HTTPS", True)):
                found[f"`docker run` to first 200, {name}, s"].append(
                    first_200(engine, folder, tls)
                )
        image, bare = (
            start(engine, folder),
            start(engine, folder, command=["nginx", "-c", "/certs/nginx.conf"], user="0"),
        )
        for _ in range(options.rounds):
            for name, words in PROTOCOLS.items():
                for what, value in load(image, words, folder / "log", options.seconds).items():
                    found[f"{what}, {name}"].append(value)
            for name, container in (("nginx alone", bare), ("this image", image)):
                found[f"CPU µs/handshake, {name}"].append(handshake(container, options.seconds))
        common.print_head("what", "median (range)", "ratio to the first row of its kind")
        firsts: dict[str, float] = {}
        for what, values in found.items():
            middle = statistics.median(values)
            first = firsts.setdefault(what.partition(", ")[0], middle)
            common.print_row(what, common.spread(values), f"{middle / first:.2f}")


if __name__ == "__main__":
    main()
