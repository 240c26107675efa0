"""What it costs to see how the image runs: `make measure WHAT=observing`.

    python -m benchmarks.observing --rounds 20 --millions 2 --beside IMAGE

The CPU time of a hello is compared with that of a container whose nginx writes no line for process
1, in turns. The other image is compared by its start only.
"""

from __future__ import annotations

import os
import re
import statistics
import timeit
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks import common
from benchmarks.common import print_row
from benchmarks.contestants import Contestant
from benchmarks.figures import START, start_and_stop
from benchmarks.measure import CPU, Serving, serving
from docker_flask.worker.middleware.exchange import Exchange, Watch
from tests.support.harness import IMAGE, ROOT, Container, Engine, wait_for
from tests.support.loss import Load

APP = Path(__file__).parent / "app"
ACCESS_LOG = "docker_flask/nginx/access_log.conf"
SERVICE_USER = "www-data"
STATUSES, AT_ONCE, LOAD_RATE = 100, 4, 300
# Writes lines of which hardly two are equal into nginx's pipe, as nginx does: up to 4 KB at once.
FEED = """
import sys
line = "%d|%s|%d|%d.%03d|%d|0.%03d\\n"
statuses, methods = (200, 204, 304, 404, 500, 503, 599), ("GET", "POST", "HEAD", "BREW")
rows, size, total = [], 0, int(sys.argv[1])
nginx = open("/run/docker-flask/nginx.pid").read().strip()
with open(f"/proc/{nginx}/fd/3", "wb", buffering=0) as pipe:
    for n in range(total):
        status = statuses[n % 7]
        rows.append(line % (status, methods[n % 4], n % 9973, n % 11, n % 997, status, n % 991))
        size += len(rows[-1])
        if size > 4000 or n == total - 1:
            pipe.write("".join(rows).encode())
            rows, size = [], 0
"""


class Before(Watch):
    """Without the time at which a request began."""

    def begin(self, thread: int, exchange: Exchange) -> None:
        exchange.silent_since = self.clock
        self.requests[thread] = exchange


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def counting(folder: Path, rounds: int, seconds: float) -> None:
    """A hello, counted and not counted, in turns."""
    text, changed = re.subn(r"(?m)^access_log .*traffic.*$", "", (ROOT / ACCESS_LOG).read_text())
    assert changed == 1
    silent = folder / "access_log.conf"
    silent.write_text(text)
    silent.chmod(0o644)
    volumes = {str(silent): {"bind": f"/opt/docker-flask/{ACCESS_LOG}", "mode": "ro"}}
    ratios, costs, shares = [], [], []
    with ExitStack() as stack:
        counted, other = (
            stack.enter_context(serving(Contestant("", "", options=o), IMAGE, APP, heavy=False))
            for o in ({}, {"volumes": volumes})
        )
        for number in range(rounds):
            samples, spent = {}, {}
            answered = requests(counted)
            # Each goes first as often as the other.
            for one in (counted, other) if number % 2 else (other, counted):
                before = cpu_of(one.pid)
                samples[one] = one.load("/", seconds)
                spent[one] = cpu_of(one.pid) - before
            answered = requests(counted) - answered
            ours, theirs = samples[counted], samples[other]
            ratios.append((ours[CPU] / theirs[CPU] - 1) * 100)
            costs.append(ours[CPU] - theirs[CPU])
            shares.append((spent[counted] - spent[other]) / answered * 1e6)
            common.report(f"round {number + 1}: {ours[CPU]:.1f} and {theirs[CPU]:.1f} µs a hello")
        assert requests(other) == 0
    print_row("CPU time of a hello by counting, %", common.spread(ratios), "1")
    print_row("the same, µs", common.spread(costs), "")
    print_row("of it in process 1, µs", common.spread(shares), "")


def requests(served: Serving) -> float:
    """All requests that process 1 has counted."""
    return metric(served.container, "http_request_duration_seconds_count")


def metric(container: Container, name: str) -> float:
    """A number of the page /metrics."""
    url = "http://127.0.0.1:9180/metrics"
    code = f"from urllib.request import *; print(urlopen('{url}').read().decode())"
    page = container.shell(f'/usr/bin/python3 -I -c "{code}"')
    return float(re.findall(rf"^docker_flask_{re.escape(name)} (.*)$", page, re.M)[0])


def begin() -> None:
    """Print the nanoseconds of the watchdog's note of a request, and what they were without it."""

    def nanoseconds(watch: Watch) -> float:
        exchange = Exchange({})
        count = 200_000
        return min(timeit.repeat(lambda: watch.begin(1, exchange), number=count)) / count * 1e9

    print_row("begin() of the watchdog, ns", f"{nanoseconds(Watch()):.0f}", "")
    print_row("the same without the time", f"{nanoseconds(Before()):.0f}", "")


def memory(used: Engine, millions: int) -> None:
    """Of process 1, while its pipe is fed."""
    container = used.run(image=IMAGE, app=APP)
    container.wait_until_serving()
    sizes, cpu = [], cpu_of(container.pid)
    for part in range(millions):
        words = ("/usr/bin/python3", "-I", "-c", FEED, "1000000")
        # Docker's root may not look into processes of another user.
        code, output = container.execute(*words, user=SERVICE_USER)
        assert code == 0, output
        total = (part + 1) * 1e6
        wait_for(
            lambda t=total: metric(container, "http_request_duration_seconds_count") >= t,
            60,
            "all lines",
        )
        sizes.append(metric(container, 'resident_memory_bytes{kind="supervisor"}') / 1e6)
    spent = (cpu_of(container.pid) - cpu) / (millions * 1e6) * 1e6
    print_row("process 1 for a request of which hardly two are equal, µs", f"{spent:.1f}", "")
    for part, size in enumerate(sizes):
        print_row(f"memory of process 1 after {part + 1} million requests, MB", f"{size:.1f}", "")
    used.remove_containers()


def statuses(used: Engine, folder: Path) -> None:
    """Many times, while clients ask for pages."""
    container = used.run(image=IMAGE, app=APP)
    container.wait_until_serving()
    with (
        Load(
            container, folder / "load.json", mode="keepalive", rate=LOAD_RATE, no_echo=True
        ) as load,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        command = ("docker-flask", "status", "--json")
        codes = list(pool.map(lambda _: container.execute(*command)[0], range(STATUSES)))
        result = load.finish()
    lost = len(result.records) - result.counts["ok"]
    print_row(f"{STATUSES} times `docker-flask status`: failed", STATUSES - codes.count(0), "0")
    print_row(f"lost of {len(result.records):,} requests meanwhile", lost, "0")
    used.remove_containers()


def starts(used: Engine, beside: str, rounds: int) -> None:
    """This image and the other one, in turns."""
    found = [
        [start_and_stop(used, image)[START] * 1000 for image in (IMAGE, beside)]
        for _ in range(rounds)
    ]
    ours, theirs = zip(*found, strict=True)
    print_row("`docker run` to first 200, ms", common.spread(ours), "")
    print_row(f"the same with {beside}, ms", common.spread(theirs), "")
    difference = statistics.median(a - b for a, b in found)
    print_row("the difference, median of pairs, ms", f"{difference:.0f}", "10")
    used.remove_containers()


def main() -> None:
    """Print the table."""
    parser = common.parser(__doc__, rounds=20, seconds=2, millions=2)
    parser.add_argument("--beside", metavar="IMAGE", help="an image to compare the start with")
    options = parser.parse_args()
    with common.engine("observing") as used, common.folder() as folder:
        load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
        print(f"{common.about(used)} {options.rounds} rounds. Load of the machine before: {load}.")
        common.print_head("what", "median (range)", "at most")
        counting(folder, options.rounds, options.seconds)
        if options.beside:
            starts(used, options.beside, options.rounds)
        begin()
        statuses(used, folder)
        memory(used, options.millions)


if __name__ == "__main__":
    main()
