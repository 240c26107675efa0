"""Many clients with a WebSocket each, which send messages, expect each one back, and count.

`python -m tests.support.web_sockets URL SOCKETS PAUSE` runs them, prints their counts as JSON for
each line of its stdin, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.support.harness import APPS, ROOT, Container, command_in_netns

# Seconds until an echo is lost, and clients that connect in a second.
LATE, RATE = 10.0, 200
# Packages of Python alone, which stand beside the application, because the image has none of them.
PACKAGES = (
    "flask_sock",
    "flask_socketio",
    "socketio",
    "engineio",
    "simple_websocket",
    "wsproto",
    "h11",
    "bidict",
)


def write_app(folder: Path) -> None:
    """Put the application and its packages into a folder."""
    folder.chmod(0o755)
    shutil.copy(APPS / "websockets/app.py", folder)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec
        (source,) = spec.submodule_search_locations or ()
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


class Talk:
    """Clients in a process of their own, in the network of a container; counts: at the end."""

    def __init__(self, container: Container, number: int, pause: float) -> None:
        words = [sys.executable, "-m", __name__, "ws://127.0.0.1/echo", str(number), str(pause)]
        self.counts: dict[str, Any] = {}
        self._process = subprocess.Popen(
            command_in_netns(container.pid, words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        out = self._process.communicate(timeout=60)[0]
        self.counts = json.loads(out.splitlines()[-1])

    def look(self) -> dict[str, Any]:
        """The counts so far."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: dict[str, Any] = json.loads(self._process.stdout.readline())
        return counts


@dataclass
class Counts:
    """What the clients saw.

    opened: connections. echoes: messages that came back. closed: connections by the code of the
    close frame. cut: connections that ended without a close frame. unanswered: messages that met
    the close frame on their way. lost: messages that did not come back, without a close frame.
    refused: handshakes by status, or by error. latencies: seconds of each echo. open: connections.
    """

    open: int = 0
    opened: int = 0
    echoes: int = 0
    cut: int = 0
    unanswered: int = 0
    lost: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)


class Clients:
    """The clients; pause: seconds between two messages of one."""

    def __init__(self, url: str, number: int, pause: float) -> None:
        self.counts = Counts()
        self._url, self._number, self._pause = url, number, pause
        self._over = asyncio.Event()

    async def run(self) -> Counts:
        """Run all clients until `stop`."""
        await asyncio.gather(*(self._client(number) for number in range(self._number)))
        return self.counts

    def stop(self) -> None:
        """Let each client close its connection."""
        self._over.set()

    async def _client(self, number: int) -> None:
        await self._rest(number / RATE)
        while not self._over.is_set():
            try:
                async with connect(self._url, compression=None, ping_interval=None) as connection:
                    self.counts.opened += 1
                    self.counts.open += 1
                    await self._talk(connection)
                    self.counts.open -= 1
            except InvalidStatus as refused:
                _count(self.counts.refused, str(refused.response.status_code))
            except (OSError, InvalidHandshake, EOFError) as error:
                _count(self.counts.refused, type(error).__name__)
            await self._rest(random.uniform(0, 0.5))  # noqa: S311 (no secret)

    async def _talk(self, connection: ClientConnection) -> None:
        counts, is_sent, number = self.counts, False, 0
        try:
            while not self._over.is_set():
                message, number = str(number), number + 1
                begun = time.monotonic()
                await connection.send(message)
                is_sent = True
                assert await asyncio.wait_for(connection.recv(), LATE) == message
                is_sent = False
                counts.echoes += 1
                counts.latencies.append(time.monotonic() - begun)
                pause = random.uniform(0.5, 1.5) * self._pause  # noqa: S311 (no secret)
                over = asyncio.create_task(self._over.wait())
                gone = asyncio.create_task(connection.wait_closed())
                _, rest = await asyncio.wait(
                    [over, gone], timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
                for task in rest:
                    task.cancel()
        except ConnectionClosed as closed:
            if closed.rcvd:
                _count(counts.closed, str(closed.rcvd.code))
                counts.unanswered += is_sent
            else:
                counts.cut += 1
                counts.lost += is_sent
        except TimeoutError:
            counts.lost += 1

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)


def _count(where: dict[str, int], name: str) -> None:
    where[name] = where.get(name, 0) + 1


async def main() -> None:
    """Run the clients until stdin ends."""
    clients = Clients(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    loop = asyncio.get_running_loop()

    def report() -> None:
        if sys.stdin.readline():
            print(json.dumps(asdict(clients.counts)), flush=True)
        else:
            loop.remove_reader(sys.stdin)
            clients.stop()

    loop.add_reader(sys.stdin, report)
    print(json.dumps(asdict(await clients.run())))


if __name__ == "__main__":
    asyncio.run(main())
