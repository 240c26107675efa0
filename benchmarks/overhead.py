"""What the image adds to its own nginx and uWSGI, and where: CPU time of each request.

All contestants of a row are up at once and loaded in turns, one second each. The number is the
better quartile, because what else the machine does can only add to it.

    python -m benchmarks.overhead --rounds 14 --rows hello
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import common
from benchmarks.contestants import BARE_PAIR, CONTESTANTS, Contestant, ours
from benchmarks.https import make_certificate
from benchmarks.measure import CPU, RATE, Sample, Serving, prepare, serving

SECONDS = 1
NGINX, WORKERS, FIRST = "nginx", "workers", "process 1"
KINDS = (NGINX, WORKERS, FIRST)
COLUMNS = (CPU, *KINDS, RATE)
ROWS = ("hello", "static", "page", "https")
CERTIFICATES = "/certs"
GRANIAN_TLS = (
    "granian --interface wsgi --host 0.0.0.0 --port 80 --workers 1 app:app & "
    "exec granian --interface wsgi --host 0.0.0.0 --port 443 app:app "
    f"--ssl-certificate {CERTIFICATES}/tls.crt --ssl-keyfile {CERTIFICATES}/tls.key"
)


# What is loaded, with its path; the others cost more than the first one, or less.
Row = list[tuple[Contestant, str]]


def rows(certificates: Path) -> dict[str, Row]:
    """What is measured, by name; certificates: a folder with tls.crt and tls.key."""
    by_name = {one.name: one for one in CONTESTANTS}
    volumes = {str(certificates): {"bind": CERTIFICATES, "mode": "ro"}}
    quiet = by_name["ours, no access log"]
    granian = by_name["granian"]
    encrypted = ours(
        "ours, HTTPS", "", TLS_CERTIFICATE=CERTIFICATES, TLS_REDIRECT="0", ACCESS_LOG="0"
    )
    tls = {"command": ["bash", "-c", GRANIAN_TLS], "volumes": volumes}
    alone = by_name["limit: nginx alone"]
    return {
        "hello": [(by_name[BARE_PAIR], "/"), (quiet, "/"), (by_name["ours"], "/"), (granian, "/")],
        "static": [(alone, "/static/10-kb.txt"), (quiet, "/static/10-kb.txt")],
        "page": [
            (alone, "/"),
            (by_name["ours, response cache, no access log"], "/page"),
        ],
        "https": [
            (replace(granian, name="granian, its own TLS", options=tls), "https://127.0.0.1/"),
            (
                replace(encrypted, options={**encrypted.options, "volumes": volumes}),
                "https://127.0.0.1/",
            ),
        ],
    }


def used(server: Serving) -> dict[str, float]:
    """CPU time (us) of each kind of process so far."""
    found: dict[str, float] = defaultdict(float)
    for pid in server.cgroup.processes():
        with suppress(OSError):  # it has ended meanwhile
            name = Path(f"/proc/{pid}/comm").read_text()
            kind = NGINX if "nginx" in name else FIRST if pid == str(server.pid) else WORKERS
            for task in Path(f"/proc/{pid}/task").iterdir():
                found[kind] += int((task / "schedstat").read_text().split()[0]) / 1e3
    return found


def measure(server: Serving, path: str) -> Sample:
    """One turn."""
    before = used(server)
    sample = server.hit(path, SECONDS)
    after = used(server)
    spent = {kind: after[kind] - before[kind] for kind in KINDS}
    return {**sample, **{kind: sample[CPU] * spent[kind] / sum(spent.values()) for kind in KINDS}}


def take_turns(row: Row, app: Path, rounds: int) -> dict[str, list[Sample]]:
    """The samples of each contestant."""
    found: dict[str, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        up = [
            (one.name, path, stack.enter_context(serving(one, one.image(), app, heavy=False)))
            for one, path in row
        ]
        for _ in range(1 + rounds):  # the first one warms up
            for name, path, server in up:
                found[name].append(measure(server, path))
    return {name: samples[1:] for name, samples in found.items()}


def better_quartile(column: str, samples: list[Sample]) -> float:
    """Of the times the lower one, of the requests a second the upper one."""
    return statistics.quantiles(each[column] for each in samples)[2 if column == RATE else 0]


def main() -> None:
    """Measure, and print a table for each row."""
    parser = common.parser(__doc__, rounds=14)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    options = parser.parse_args()
    with common.engine("overhead") as engine, common.folder() as folder:
        certificates = folder / "certificates"
        certificates.mkdir(mode=0o755)
        make_certificate(certificates)
        app, chosen = prepare(folder), rows(certificates)
        print(common.about(engine), f"{options.rounds} rounds in turns; the better quartile.")
        for name in options.rows:
            common.print_head(name, "times the first", *COLUMNS)
            first = 0.0
            for one, samples in take_turns(chosen[name], app, options.rounds).items():
                cells = [better_quartile(column, samples) for column in COLUMNS]
                first = first or cells[0]
                common.print_row(one, f"{cells[0] / first:.2f}", *map(common.number, cells))


if __name__ == "__main__":
    main()
