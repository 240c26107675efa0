"""`docker-flask status`: what process 1 and the workers say of the container, on one screen."""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from docker_flask.shared import control, paths, runtime_folder
from docker_flask.shared.log import log

# Seconds for process 1, which waits for its workers; and between two screens of --watch.
TIMEOUT, PAUSE = 5.0, 2.0
# Seconds for the disk of /data.
DISK_TIMEOUT = 0.5
OPTIONS = {"--json", "--watch"}
CLEAR = "\x1b[H\x1b[2J"
MB, DAY = 1 << 20, 86400.0
# Requests on the screen, columns of the first word, letters of a path.
ROWS, MARGIN, MAX_PATH = 20, 10, 60
EXIT_USAGE = 64  # EX_USAGE in sysexits.h


def main() -> int:
    """Print the status; with --watch again and again. Returns 1 if no server runs here."""
    arguments = sys.argv[2:]
    if wrong := [each for each in arguments if each not in OPTIONS]:
        log(f"status does not know {wrong[0]!r}; it takes {' and '.join(sorted(OPTIONS))}")
        return EXIT_USAGE
    # entry-point.sh blocks them, for programs that handle them in order.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        while True:
            folder = runtime_folder.running_server()
            if not folder:
                log("no production server runs in this container, or it runs as another user")
                return 1
            facts = control.ask_json(folder, "status", TIMEOUT)
            if not facts:
                log("status: the production server has ended, or its log has a traceback")
                return 1
            if isinstance(facts, dict):
                facts["data_full"] = _share_of_disk()
            text = json.dumps(facts) if "--json" in arguments else _text(facts)
            is_watched = "--watch" in arguments
            print(f"{CLEAR if is_watched and sys.stdout.isatty() else ''}{text}", flush=True)
            if not is_watched:
                return 0
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `status --watch | head`
        sys.stdout = None
        return 0


def _share_of_disk() -> float | None:
    """How full the disk of /data is, from 0 to 1; 0 without a volume, None if it does not respond.

    Process 1 does not look: a network's volume that hangs would hold it, and its probes.
    """
    found: list[float] = []

    def look() -> None:
        try:
            usage = shutil.disk_usage(paths.VOLUME)
        except OSError:
            found.append(0.0)
        else:
            found.append(usage.used / usage.total if usage.total else 0.0)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(DISK_TIMEOUT)
    return found[0] if found else None


def _text(facts: Any) -> str:
    """The screen; raises OSError if the application has taken the place of process 1."""
    try:
        # A text of the application may have control characters.
        return "\n".join(control.printable(line).replace("\n", "?") for line in screen(facts))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise OSError("the response to 'status' is not one of process 1") from None


def screen(facts: dict[str, Any]) -> Iterator[str]:
    """The lines for a person."""
    yield _first_line(facts)
    if "workers" in facts:
        yield _line("workers", _workers(facts["workers"], facts["requests"]))
    yield _line("memory", _memory(facts["memory"]))
    minute = facts["last_minute"]
    yield _line(f"{minute['seconds']:.0f} s", _last_minute(minute))
    if limits := _limits(facts):
        yield _line("limits", limits)
    yield from _running(facts)


def _line(name: str, text: str) -> str:
    return f"{name:<{MARGIN}}{text}"


def _first_line(facts: dict[str, Any]) -> str:
    if "application" not in facts:
        return str(facts["problem"])
    name = facts["application"].partition(" (")[0]
    since = f"since {_clock(facts['since'])}, generation {facts['generation']}"
    words = f"{facts['state']} {name} {since}"
    if facts["last_reload"]:
        at, problem = facts["last_reload"]
        result = "failed, the log has the reason" if problem else "ok"
        words += f" (last reload {_clock(at)}: {result})"
    if facts["problem"]:
        words += f"      NOT READY: {facts['problem']}"
    if facts["saturated_since"]:
        words += f"      SATURATED since {_clock(facts['saturated_since'])}"
    return words


def _workers(workers: dict[str, Any], requests: dict[str, Any]) -> str:
    busy = f"{requests['running']:,} of {workers['slots']:,}"
    most = f"{workers['maximum']:,}"
    if (workers["slots"], workers["slots_maximum"]) == (workers["now"], workers["maximum"]):
        words = f"{busy} busy"
    else:
        words = f"{workers['now']:,} with {busy} places busy"
        most += f" with {workers['slots_maximum']:,}"
    words += f" (maximum {most}: {workers['reason']})"
    words += f"      waiting {requests['waiting']:,} of {requests['queue']:,}"
    if requests["web_sockets"]:
        words += f"      {requests['web_sockets']:,} WebSockets"
    return words


def _memory(memory: dict[str, Any]) -> str:
    words = f"{memory['used'] // MB:,} of {memory['limit'] // MB:,} MiB"
    if memory["largest_worker"]:
        size = memory["largest_worker_bytes"] // MB
        words += f", largest worker {memory['largest_worker']}: {size:,} MiB"
    if memory["kills"]:
        words += f"; killed {memory['kills']}, last {_clock(memory['last_kill'])}"
    return words


def _last_minute(minute: dict[str, Any]) -> str:
    if not minute["statuses"]:
        return "no requests"
    counts = ", ".join(f"{status} {number:,}" for status, number in minute["statuses"].items())
    words = f"{minute['rate']:.3g}/s: {counts}; median {minute['median']:.2g} s"
    words += f", p95 {minute['p95']:.2g} s"
    if minute["mean_wait"] >= 0.01:
        words += f"; they wait for a worker for {minute['mean_wait']:.2g} s on average"
    return words


def _limits(facts: dict[str, Any]) -> str:
    found = []
    if certificate := facts["certificate"]:
        days = (certificate["ends"] - time.time()) / DAY
        name = sorted(certificate["names"])[0] if certificate["names"] else "HTTPS"
        left = f"{days:.0f} days" if days > 0 else "has expired"
        found.append(f"{name}'s certificate {left}")
    if facts["data_full"] is None:
        found.append("/data does not respond")
    elif facts["data_full"]:
        found.append(f"/data {facts['data_full'] * 100:.0f} % full")
    return "      ".join(found)


def _running(facts: dict[str, Any]) -> Iterator[str]:
    """The requests that run; those at the same place share a row."""
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in facts.get("running", []):
        # Where nothing is known of the place, requests share nothing.
        places.setdefault((row["place"], "" if row["place"] else row["request_id"]), []).append(row)
    name = "running"
    for rows in list(places.values())[:ROWS]:
        first = rows[0]
        words = f"{first['seconds']:.1f} s  {first['method']} {first['path'][:MAX_PATH]}"
        words += f"  {first['request_id'][:8]}  worker {first['worker']}  {first['place']}"
        yield _line(name, words.rstrip())
        name = ""
        if more := rows[1:]:
            shortest, longest = more[-1]["seconds"], more[0]["seconds"]
            yield _line("", f"({len(more)} more here, {shortest:.0f} to {longest:.0f} s)")
    if len(places) > ROWS:
        yield _line("", f"and requests at {len(places) - ROWS} more places")
    if silent := facts.get("silent"):
        pids = ", ".join(map(str, silent))
        yield _line(
            "silent",
            f"worker {pids}: stopped, or C code holds Python's lock (docs/operating.md: py-spy)",
        )


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
