"""The same attacks on this image and on other ways of serving Flask: `make measure WHAT=hardening`.

Prints a table of what each image leaves to an attacker: processes as root, flags of `docker run`
with which it does not serve, what lies in its file system, slow clients, debuggers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from docker.errors import APIError

from benchmarks import common
from benchmarks.common import Subject
from tests.support.harness import APPS, IMAGE, ROOT, Container, command_in_netns

PEERS = {
    "tutorial": "nginx and uWSGI of a tutorial",
    "uwsgi-nginx-flask": "uwsgi-nginx-flask",
    "gunicorn-gthread": "Gunicorn",
}
SERVING_SECONDS = 8
UPLOAD = 20_000_000

Probe = Callable[[Subject], list[str]]

# A client inside the container, because a container without a network has no other.
ASK = """
import sys, time, urllib.request
url, upload, seconds = "http://127.0.0.1:80/", int(sys.argv[1]), float(sys.argv[2])
end = time.monotonic() + seconds
while True:
    try:
        urllib.request.urlopen(url, timeout=5).read()
        break
    except Exception as error:
        if time.monotonic() > end:
            sys.exit(f"no answer: {error}")
        time.sleep(0.1)
try:
    body = urllib.request.urlopen(url + "upload", b"x" * upload, timeout=20).read()
except Exception as error:
    sys.exit(f"upload: {error}")
sys.exit(0 if int(body) == upload else "upload is cut")
"""


def serves(subject: Subject, **options: Any) -> str:
    """Whether it answers a GET and takes an upload with these options of Engine.run."""
    try:
        with subject.running(**options) as container:
            code, out = container.execute("python3", "-c", ASK, str(UPLOAD), str(SERVING_SECONDS))
    except APIError:
        return "ends"
    if code == 0:
        return "serves"
    words = out.strip().splitlines()
    return "no upload" if words and words[-1].startswith("upload") else "does not serve"


def processes(container: Container) -> list[dict[str, str]]:
    """What the kernel says of each process."""
    found = []
    for row in container.docker.top()["Processes"]:
        with suppress(OSError):  # it has ended meanwhile
            lines = Path(f"/proc/{row[1]}/status").read_text().splitlines()
            found.append(
                {name: text.strip() for name, _, text in (x.partition(":") for x in lines)}
            )
    return found


def privileges(subject: Subject) -> list[str]:
    """What the processes of a container may do that was started without flags."""
    with subject.running(SERVING_SECONDS) as container:
        found = processes(container)
    of_root = sum("0" in status["Uid"].split() for status in found)
    free = sum(status["NoNewPrivs"] == "0" for status in found)
    most = (max(int(one[kind], 16).bit_count() for one in found) for kind in ("CapEff", "CapBnd"))
    return [f"{of_root} of {len(found)}", *map(str, most), f"{free} of {len(found)}"]


FLAGS: dict[str, dict[str, Any]] = {
    "--read-only": {"read_only": True},
    "--cap-drop ALL": {"cap_drop": ["ALL"]},
    "--user 12345": {"user": "12345"},
    "--security-opt no-new-privileges": {"security_opt": ["no-new-privileges"]},
    "--network none": {"network_mode": "none", "ports": {}},
    "--ipc none": {"ipc_mode": "none"},
}
DEFAULT_CAPABILITIES = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
]


def flag(**options: Any) -> Probe:
    """Whether it serves with flags of `docker run`."""

    def probe(subject: Subject) -> list[str]:
        return [serves(subject, **options)]

    return probe


def each_capability(subject: Subject) -> list[str]:
    """Without which of the engine's capabilities it does not serve as before."""
    without_flags = serves(subject)
    needed = [c for c in DEFAULT_CAPABILITIES if serves(subject, cap_drop=[c]) != without_flags]
    return [", ".join(needed) or "none"]


NOT_DEVICES = "find / -xdev ( -path /proc -o -path /sys -o -path /dev ) -prune -o"
COMPILERS = "( -name *gcc-[0-9]* -o -name cc1 -o -name *-as -o -name make )"
# What root finds, and in the second line any user: others don't reach what is in a closed folder.
FIND = (
    ("0", f"{NOT_DEVICES} -type f -perm /6000 -print"),
    ("65534", f"{NOT_DEVICES} -perm /0002 -not -type l -not ( -type d -perm /1000 ) -print"),
    ("0", f"{NOT_DEVICES} -type f -perm /0111 {COMPILERS} -print"),
    ("0", "find /var/lib/apt/lists -type f"),
)
# In the name of whoever runs the application.
WRITABLE = """
import os
found = 0
for top in ("/opt", "/usr", "/etc", "/bin", "/lib"):
    for folder, _, names in os.walk(top):
        paths = [folder, *(os.path.join(folder, name) for name in names)]
        found += sum(os.access(p, os.W_OK) and not os.path.islink(p) for p in paths)
print(found)
"""


def files(subject: Subject) -> list[str]:
    """How many of each kind; then what the process that runs the application may write to."""
    with subject.running(SERVING_SECONDS) as container:
        counts = []
        for user, words in FIND:
            _, out = container.execute(*words.split(), user=user)
            counts.append(str(len([line for line in out.splitlines() if line.startswith("/")])))
        # The application runs as the user who is not root, if there is one.
        uids = [status["Uid"].split()[1] for status in processes(container)]
        worker = next((uid for uid in uids if uid != "0"), "0")
        _, out = container.execute("python3", "-c", WRITABLE, user=worker)
        return [*counts, out.strip()]


SLOW, SLOW_SECONDS = 1_000, 15
LIMITS = {"nano_cpus": 1_000_000_000, "mem_limit": "512m"}


def slow(kind: str) -> Probe:
    """How many requests of a good client fail meanwhile, and how long the others take."""

    def probe(subject: Subject) -> list[str]:
        with subject.running(SERVING_SECONDS, **LIMITS) as container:
            words = [sys.executable, "-m", "tests.support.slow_clients", "--kind", kind]
            words += ["--clients", str(SLOW), "--seconds", str(SLOW_SECONDS)]
            command = command_in_netns(container.pid, words)
            result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(result.stdout)
        every = sum(found["statuses"].values())
        failed = every - found["statuses"].get("200", 0)
        return [f"{failed} of {every} fail, p99 {found['p99']:.0f} ms"]

    return probe


def debugger(**env: str) -> Probe:
    """Whether a client gets a debugger, or a traceback."""

    def probe(subject: Subject) -> list[str]:
        with subject.running(env=env) as container:
            try:
                container.wait_until_serving(seconds=SERVING_SECONDS)
            except AssertionError:
                return ["does not serve"]
            page = container.get("/fail").text
            script = container.get("/?__debugger__=yes&cmd=resource&f=debugger.js")
        if "openShell" in script.text or "EVALEX = true" in page:
            return ["**a debugger**"]
        return ["**a traceback**" if "in the traceback" in page else "neither"]

    return probe


class Attack(NamedTuple):
    """Lines of the table that one probe fills."""

    lines: tuple[str, ...]
    probe: Probe


ATTACKS = [
    Attack(
        (
            "processes of root's, `docker run` without flags",
            "effective capabilities of a process, at most",
            "capabilities that a process can get back, at most",
            "processes without no_new_privs",
        ),
        privileges,
    ),
    Attack(("no flag",), flag()),
    *(Attack((f"`{name}`",), flag(**options)) for name, options in FLAGS.items()),
    Attack(("all of these flags",), flag(**{k: v for o in FLAGS.values() for k, v in o.items()})),
    Attack(("capabilities that it can't do without",), each_capability),
    Attack(
        (
            "setuid and setgid files",
            "files, folders and sockets that everybody may change",
            "compilers and `make`",
            "lists of the package index",
            "files below /opt, /usr, /etc that the application may change",
        ),
        files,
    ),
    Attack((f"{SLOW:,} clients with slow headers",), slow("headers")),
    Attack((f"{SLOW:,} clients with slow bodies",), slow("bodies")),
    Attack((f"{SLOW:,} slow readers of a response of 6 MB",), slow("dynamic")),
    Attack(("`FLASK_DEBUG=1`",), debugger(FLASK_DEBUG="1")),
    Attack(("`app.debug = True`",), debugger(DEBUGGER="app.debug")),
    Attack(("`app.run(debug=True)` at import",), debugger(DEBUGGER="app.run")),
    Attack(("`DebuggedApplication(app)`",), debugger(DEBUGGER="DebuggedApplication")),
]


def main() -> None:
    """Attack all images, and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--only", default="", help="lines with this text")
    only = parser.parse_args().only
    with common.engine("hardening") as engine:
        print(common.about(engine))
        images = [IMAGE, *map(common.build_peer, PEERS)]
        subjects = [Subject(engine, image, APPS / "hardening") for image in images]
        common.print_head("", "docker-flask", *PEERS.values())
        for attack in ATTACKS:
            if any(only in line for line in attack.lines):
                columns = map(attack.probe, subjects)
                for line, *cells in zip(attack.lines, *columns, strict=True):
                    common.print_row(line, *cells)


if __name__ == "__main__":
    main()
