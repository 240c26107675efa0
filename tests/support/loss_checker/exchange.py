"""One request of the load client, and the verdict on it."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.loss_checker.channel import Channel
from tests.support.loss_checker.response import BadResponseError, Response
from tests.support.loss_checker.result import Verdict

if TYPE_CHECKING:
    from tests.support.loss_checker.client import Load, Settings

TRAILER = b"\nend-of-answer\n"
# Failures of connect() that come from the client's own host and not from the server.
OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


class Exchange:
    """One request and its response: connect, (send_delay,) send, receive, verdict."""

    def __init__(self, load: Load, ident: str) -> None:
        self.response = Response()
        self.port = 0
        self.sent = False
        self._load = load
        self._id = ident
        self._phase = "connect"
        self._send_error = ""
        self._loop = asyncio.get_running_loop()
        self._channel = load.kept_connection()
        self.reused = self._channel is not None

    async def run(self) -> tuple[Verdict, str]:
        """The verdict, and what ended the request: "EOF", an errno's name, a phase, ..."""
        settings, verdict, detail = self._load.settings, Verdict.UNEXPECTED, ""
        try:
            async with asyncio.timeout(settings.timeout):
                await self._talk(settings.send_delay)
            verdict = check_response(self.response, self._id, settings)
        except TimeoutError:
            verdict, detail = Verdict.TIMEOUT, self._phase
        except BadResponseError as error:
            detail = str(error)
        except OSError as error:
            verdict, detail = self._broken(error)
        if self._channel is not None:
            keep = settings.mode == "keepalive" and self.response.keep_alive
            if keep and self.response.complete and verdict != Verdict.UNEXPECTED:
                self._load.idle.append(self._channel)
            else:
                self._channel.sock.close()
        return verdict, detail

    async def _talk(self, send_delay: float) -> None:
        if self._channel is None:
            self._channel = Channel(self._load.family, self._load.tls)
            await self._loop.sock_connect(self._channel.sock, self._load.address)
            self._phase = "handshake"
            await self._channel.shake_hands()
        channel = self._channel
        self.port = channel.sock.getsockname()[1]
        self._phase = "send"
        if send_delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._receive(channel), send_delay)
        try:
            request = self._load.request(self._id)
            rest = channel.send(request)
            self.sent = True
            await channel.send_rest(rest)
        except OSError as error:
            # The server may have sent a response before it hung up.
            self._send_error = errno.errorcode[error.errno or 0]
        self._phase = "head"
        await self._receive(channel)

    async def _receive(self, channel: Channel) -> None:
        while not self.response.complete:
            data = await channel.receive()
            if data:
                self.response.feed(data)
            else:
                self.response.end()
                if not self.response.complete:
                    raise ConnectionError("EOF")
            self._phase = "head" if self.response.status is None else "body"

    def _broken(self, error: OSError) -> tuple[Verdict, str]:
        """The verdict on a connection that has ended under a request."""
        reason = getattr(error, "reason", None)  # of a failure in TLS
        detail = reason or errno.errorcode.get(error.errno or 0) or self._send_error or "EOF"
        if self._phase == "connect" and error.errno == errno.ECONNREFUSED:
            return Verdict.REFUSED, detail
        if self._phase == "connect" and error.errno in OWN_LIMITS:
            return Verdict.CLIENT_ERROR, detail
        if self.response.status is not None:
            return Verdict.CUT_SHORT, detail
        return Verdict.RESET_SENT if self.sent else Verdict.RESET_UNSENT, detail


def request_template(settings: Settings) -> bytes:
    """The bytes of a request, with {id} in place of its id."""
    url = urlsplit(settings.url)
    query = f"{url.query}&" if url.query else ""
    body = b"x" * settings.body_bytes if settings.method == "POST" else b""
    lines = [
        f"{settings.method} {url.path or '/'}?{query}id={{id}} HTTP/1.1",
        f"Host: {url.netloc}",
    ]
    if settings.mode == "new":
        lines.append("Connection: close")
    if settings.method == "POST":
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def check_response(response: Response, ident: str, settings: Settings) -> Verdict:
    """The verdict on a complete response to the request `ident`."""
    status = response.status or 0
    if status == 503 and b"retry-after" in response.headers:
        return Verdict.RETRY_LATER
    if 500 <= status <= 599:
        return Verdict.ERROR_5XX
    if 400 <= status <= 499:
        return Verdict.ERROR_4XX
    if status != 200:
        return Verdict.UNEXPECTED
    if settings.no_echo:
        return Verdict.OK
    body, first_line = response.body, b"id=%b\n" % ident.encode()
    if not body.startswith(first_line):
        # Too short to tell whose it is: something between server and client shortened it.
        return Verdict.CUT_SHORT if first_line.startswith(body) else Verdict.WRONG_BODY
    if not body.endswith(TRAILER):
        return Verdict.CUT_SHORT
    if settings.method == "POST" and b"\nreceived=%d\n" % settings.body_bytes not in body:
        return Verdict.WRONG_BODY
    return Verdict.OK
