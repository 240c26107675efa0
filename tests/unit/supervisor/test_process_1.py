"""Process 1 outlives its clients, its workers' messages, and every exception in what it calls."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask import __main__
from docker_flask.plan.limits import MemoryWatch
from docker_flask.shared import control, drop_privileges, notify, process, sockets
from docker_flask.shared.loop import Loop
from docker_flask.shared.ports import MAX_CLIENTS, answer_commands, answer_probes
from docker_flask.supervisor import log_relay, supervisor
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.log_relay import _Stream
from docker_flask.supervisor.worker_counts import WorkerCounts
from tests.support import plans
from tests.support.harness import run_python

PROBE = b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"


def turn(loop: Loop) -> None:
    """Run the callbacks of all events that are there."""
    for _ in range(200):
        loop.turn(0)


@pytest.fixture
def connect(loop: Loop) -> Iterator[Callable[[], socket.socket]]:
    """Connects to a status port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as clients:
        listener.setblocking(False)
        answer_probes([listener], loop, {"/ready": lambda: ""})
        address = listener.getsockname()
        yield lambda: clients.enter_context(socket.create_connection(address, timeout=2))


def test_an_event_of_a_client_that_was_just_closed(
    loop: Loop, connect: Callable[[], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    silent = []
    for _ in range(MAX_CLIENTS):
        silent.append(connect())
        turn(loop)
    new = connect()
    silent[0].send(b"x")
    new.send(PROBE)
    turn(loop)
    assert new.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert capsys.readouterr().err == ""


def test_slow_clients_keep_no_probe_from_its_answer(
    loop: Loop, connect: Callable[[], socket.socket]
) -> None:
    slow = [connect() for _ in range(2 * MAX_CLIENTS)]
    for _ in range(3):
        turn(loop)
        for client in slow:
            with contextlib.suppress(OSError):  # closed
                client.send(b"x")
        probe = connect()
        probe.send(PROBE)
        turn(loop)
        assert probe.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_silent_clients_of_the_control_socket(tmp_path: Path, loop: Loop) -> None:
    answer_commands(tmp_path, loop, {"health": lambda answer: answer("ok")})
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as clients:
        for _ in range(300):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(tmp_path / "control.sock"))
            turn(loop)
        assert len(os.listdir("/proc/self/fd")) <= before + 300 + MAX_CLIENTS
        client.sendall(b"health\n")
        turn(loop)
        assert client.recv(100) == b"ok\n"


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[socket.socket]:
    """The control socket, of which somebody else has taken the place."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        yield listener


def test_a_response_of_any_size_arrives(tmp_path: Path, loop: Loop) -> None:
    """The kernel takes some 200 KB at once. Who reads nothing blocks nobody, and is not kept."""
    large = json.dumps("x" * 3_000_000)
    answer_commands(tmp_path, loop, {"settings": lambda answer: answer(large)})
    with contextlib.ExitStack() as clients:
        for _ in range(MAX_CLIENTS + 3):
            silent = clients.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(tmp_path / "control.sock"))
            silent.sendall(b"settings\n")
            turn(loop)
        with ThreadPoolExecutor(1) as other:
            response = other.submit(control.ask_json, tmp_path, "settings", 10)
            assert loop.wait(response.done, 10, tick=0.01)
        assert json.dumps(response.result()) == large
        watched = len(loop._selector.get_map())
        assert watched <= MAX_CLIENTS + 2  # and the control socket, and the loop's own


@pytest.mark.parametrize(
    ("part", "pause", "reason"),
    [
        (b"", 0, "no complete response within 0.5 seconds"),
        (b"x", 0.1, "no complete response within 0.5 seconds"),
        (b"x" * 65536, 0, "the response has more than 16 MB"),
        (b"Traceback", None, "the response to 'settings' is not one of process 1"),
    ],
    ids=["nothing", "slowly", "for ever", "no JSON"],
)
def test_no_command_waits_for_who_took_the_control_socket(
    tmp_path: Path, taken: socket.socket, part: bytes, pause: float | None, reason: str
) -> None:
    def respond() -> None:
        client, _ = taken.accept()
        with client, contextlib.suppress(OSError):  # the command has gone
            client.recv(100)
            while True:
                client.sendall(part)
                if pause is None:
                    return
                time.sleep(pause if part else 0.1)

    with ThreadPoolExecutor(1) as other:
        end = other.submit(respond)
        begun = time.monotonic()
        with pytest.raises(OSError, match=reason):
            control.ask_json(tmp_path, "settings", 0.5 if "within" in reason else 30)
        assert time.monotonic() - begun < 10
        part = b"x"  # also who sends nothing notices the end
        end.result()


@pytest.fixture
def generation(tmp_path: Path, loop: Loop) -> Iterator[Generation]:
    watch = MemoryWatch(plans.LIMITS)
    made = Generation(1, tmp_path, loop, plans.make(), "", watch, WorkerCounts())
    yield made
    made.kill()


@pytest.mark.parametrize("letter", ["x", "\N{HOT BEVERAGE}", "\0", "\udc80"])
def test_a_long_message_of_a_worker(loop: Loop, generation: Generation, letter: str) -> None:
    text = letter * 300_000 + "the end"
    assert notify.send(generation.narrow.workers_end.fileno(), "failed", text)
    turn(loop)
    assert generation.failure
    assert text.endswith(generation.failure)
    assert generation.failure.endswith("the end")


@pytest.mark.parametrize(("keys", "lines"), [("aaa", 0), (["", ""], 0), ("aab", 1), ("abcd", 1)])
def test_secret_keys_of_the_workers(
    loop: Loop,
    generation: Generation,
    keys: list[str],
    lines: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    about = {"memory": 1, "found": "", "notes": [], "static_files": "", "static": None}
    for key in keys:
        notify.send(generation.narrow.workers_end.fileno(), "ready", "x", secret_key=key, **about)
        turn(loop)
    assert capsys.readouterr().err.count("each worker has another secret key") == lines


def test_a_generation_without_workers_fails_after_start_timeout(
    loop: Loop, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether workers hang while they load, or a C library has said `exit(15)`."""
    about = {"memory": 1, "found": "", "notes": [], "static_files": "", "static": None}
    end, timeout = generation.narrow.workers_end.fileno(), generation.plan.settings.start_timeout
    notify.send(end, "ready", "x", secret_key="", **about)
    turn(loop)
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    now += timeout + 1
    assert not generation.has_failed()
    generation.look()
    monkeypatch.setattr(process, "alive", lambda _: False)
    now += timeout - 1
    assert not generation.has_failed()
    notify.send(end, "failed", "no database")
    turn(loop)
    now += timeout  # since the next try
    assert not generation.has_failed()
    now += 2
    assert generation.has_failed()


def test_a_wide_server_that_a_stop_ends_has_not_failed(
    generation: Generation, capsys: pytest.CaptureFixture[str]
) -> None:
    generation.wide.server = SimpleNamespace(  # type: ignore[assignment]
        pid=17,
        lines_about_threads=list,
        workers=set,
        stop=lambda _: iter(()),
        kill=lambda: None,
    )
    steps = generation.stop(1.0)
    next(steps)
    generation.ended(17, 0)
    steps.close()
    assert not capsys.readouterr().err


def test_the_threads_of_workers_that_have_ended_are_forgotten(
    loop: Loop, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker that MAX_REQUESTS replaces may have reported some."""
    server, end = generation.narrow, generation.narrow.workers_end
    monkeypatch.setattr(process, "alive", lambda pid: pid == 9)
    for pid in range(1, 10):
        message = {"state": "threads", "text": "", "pid": pid, "count": 1, "lines": ["x"]}
        end.send(json.dumps(message).encode())
        turn(loop)
    assert list(server._threads) == [9]


GARBAGE = [
    b"{",
    b"x" * 150_000,
    b"[" * 99_000,
    b'{"state": "ready", "text": "x", "pid": 10000000000000000000000}',
    b'{"state": "ready", "text": ["x"], "pid": 5}',
    b'{"state": "web sockets", "text": "", "pid": 5, "count": Infinity}',
    b'{"state": "running", "text": "", "pid": 5}',
    b'{"state": "slow", "text": "", "pid": 5, "requests": [{"seconds": ' + b"[" * 90_000,
    b'{"state": ["slow"], "text": [], "pid": 5, "requests": []}',
    json.dumps(
        {
            **{"state": "ready", "text": "x", "pid": 5, "memory": 1, "found": "", "notes": []},
            **{"static_files": "", "static": {"url": "/..", "folder": "static"}},
        }
    ).encode(),
]


@pytest.mark.parametrize("packet", GARBAGE, ids=lambda packet: packet[:60])
def test_garbage_in_place_of_a_message_is_ignored(
    loop: Loop, generation: Generation, packet: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    generation.narrow.workers_end.send(packet)
    turn(loop)
    assert not generation.settled()
    assert "docker-flask: ignored an invalid message" in capsys.readouterr().err
    assert notify.send(generation.narrow.workers_end.fileno(), "failed", "the reason")
    turn(loop)
    assert generation.failure == "the reason"


def test_a_fault_of_the_log_relay_stops_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> bytes:
        raise RuntimeError("thrown by the test")

    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(log_relay, "hide_servers", fail)
    stream = _Stream(2, SimpleNamespace(shows_all=False))  # type: ignore[arg-type]
    source, target = os.pipe()
    with open(source, "rb") as source_end, open(target, "wb") as target_end:
        reader, writer = os.pipe()
        stream.source, stream.target = source_end.fileno(), writer
        for number in range(2):
            target_end.write(b"line %d\n" % number)
            target_end.flush()
            assert stream.read()
        os.close(writer)
        with open(reader) as written:
            text = written.read()
    assert "line 0\n" in text
    assert "line 1\n" in text
    assert "Traceback" in text


# Each fault: the class or module, the function that raises once, and what calls the function.
FAULTS = {
    "signal": ("Reloads", "request", "os.kill(os.getpid(), signal.SIGHUP)"),
    "child": ("Service", "child_ended", "process.spawn(['/bin/true'], {})"),
    "reaping": ("process", "reap", "process.spawn(['/bin/true'], {})"),
    "control": ("Service", "why_not_ready", "control.ask(folder, 'health', 5)"),
    "status": ("Service", "why_not_ready", "ask('/ready')"),
    "message": (
        "notify",
        "receive",
        "notify.send(first.narrow.workers_end.fileno(), 'failed', 'x')",
    ),
    "workers": ("Generation", "look", "pass"),
    "facts": ("Status", "facts", "control.ask(folder, 'status', 5)"),
    "reload": ("Service", "make_plan", "control.ask(folder, 'reload', 5)"),
    "retirement": ("Generation", "requests", "service.retiring[first] = Task(retire(first))"),
}
THROW = """
import json, os, signal, socket, sys, tempfile, threading, time
from pathlib import Path
from types import SimpleNamespace
from docker_flask.shared import control, notify, process
from docker_flask.supervisor.task import Task
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor import supervisor
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.retire import retire
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.status import Status
from tests.support import plans

where, name, call = sys.argv[1:]
thrown, answers = [], []
folder = Path(tempfile.mkdtemp())
ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
for port in ports:
    port.setblocking(False)

original = getattr(globals()[where], name)

def fault(*arguments):
    if not thrown:
        thrown.append(name)
        raise RuntimeError("thrown by the test")
    return original(*arguments)

def ask(path):
    with socket.create_connection(ports[1].getsockname(), timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\\r\\n\\r\\n".encode())
        return client.recv(4096).decode()

def generation(number):
    plan, counts = plans.make(), service.worker_counts
    return Generation(number, folder, service.loop, plan, "", service.memory, counts)

def start_service(*_):
    service.nginx.workers = lambda: {service.nginx.pid}
    service.nginx.pid = process.spawn(["/bin/sleep", "60"], {})
    service.current = second
    second.narrow.pid = process.spawn(["/bin/sleep", "60"], {})
    second.narrow.groups.append(second.narrow.pid)
    service.phase = Phase.SERVING
    threading.Thread(target=client).start()

def client():
    exec(call)
    deadline = time.monotonic() + 5
    while not thrown and time.monotonic() < deadline:
        time.sleep(0.01)
    answers.append(ask("/healthy"))
    os.kill(os.getpid(), signal.SIGTERM)

supervisor.start = start_service
service = Service(plans.LIMITS, folder, ports[:1], {})
first, second = generation(1), generation(2)
setattr(globals()[where], name, fault)
code = supervisor.supervise(service, ports[1:], SimpleNamespace())
print(json.dumps([*answers, thrown, code]))
"""


@pytest.mark.parametrize("place", FAULTS)
def test_a_fault_is_logged_once_and_serving_goes_on(place: str, tmp_path: Path) -> None:
    healthy, thrown, code = run_python(
        f"import os; os.dup2(os.open({str(tmp_path / 'log')!r}, os.O_CREAT | os.O_WRONLY), 2)\n"
        + THROW,
        *FAULTS[place],
    )
    log = (tmp_path / "log").read_text()
    assert thrown
    assert healthy.startswith("HTTP/1.1 200 OK"), log
    assert code == 0, log
    assert log.count("Traceback") == log.count("RuntimeError: thrown by the test") == 1


def test_a_fault_of_a_stop_ends_the_container(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "stop", lambda service: service.no_such_thing)
    service, reloads = SimpleNamespace(loop=loop), SimpleNamespace(cancel=lambda: None)
    with pytest.raises(supervisor.StopAtOnce):
        supervisor._stop(service, reloads)  # type: ignore[arg-type]
    assert "no_such_thing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "number", "works"),
    [
        ("::", errno.EAFNOSUPPORT, True),
        ("::", errno.EADDRNOTAVAIL, True),
        ("::", errno.EADDRINUSE, False),
        ("::1", errno.EADDRNOTAVAIL, False),
    ],
)
def test_only_a_machine_without_ipv6_does_without(
    monkeypatch: pytest.MonkeyPatch, host: str, number: int, works: bool
) -> None:
    bind = sockets._bind

    def bind_or_fail(address: str, port: int) -> socket.socket:
        if address == host:
            raise OSError(number, "")
        return bind(address, port)

    monkeypatch.setattr(sockets, "_bind", bind_or_fail)
    with contextlib.nullcontext() if works else pytest.raises(OSError, match=str(number)):
        (only,) = sockets.bind([("127.0.0.1", 0), (host, 0)])
        only.close()


@pytest.mark.parametrize(
    ("command", "error", "code", "line"),
    [
        ("serve", MemoryError(), 70, "the container can't run: no memory is left; raise the limit"),
        (
            "debug",
            OSError(28, "Full"),
            70,
            "the container can't run: [Errno 28] Full; delete files",
        ),
        ("reload", OSError(11, "Try again"), 1, "reload: [Errno 11] Try again"),
        ("serve", RuntimeError("can't start new thread"), 77, "can't start new thread: use Docker"),
    ],
)
def test_too_little_of_something_is_one_line(
    command: str,
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> int:
        raise error

    module, _ = __main__.PROGRAMS[command]
    monkeypatch.setattr(f"docker_flask.{module}.main", fail)
    monkeypatch.setattr(drop_privileges, "drop", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["docker-flask", command])
    if code == 77:
        monkeypatch.setattr("docker_flask.__main__._thread.start_new_thread", fail)
    assert __main__.main() == code
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"docker-flask: {line}")
