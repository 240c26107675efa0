"""Requests over HTTP/2: up to STREAMS at a time on one connection, a verdict for each.

By hyperframe and hpack: h2 refuses all that follows a GOAWAY, also responses that are still due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import hpack
from hyperframe import frame as frames

from tests.support.loss_checker.channel import Channel
from tests.support.loss_checker.exchange import Exchange
from tests.support.loss_checker.result import Verdict

if TYPE_CHECKING:
    from tests.support.loss_checker.client import Load

STREAMS = 10
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9  # of a frame
LARGEST_WINDOW = 2**31 - 1
USUAL_WINDOW = 65535
REFUSED_STREAM = 7


class NotProcessedError(ConnectionError):
    """The server says that it has not processed a stream: by GOAWAY, or by REFUSED_STREAM."""


class Stream(Exchange):
    """One request on a connection that it shares."""

    async def _talk(self, send_delay: float) -> None:
        self._done: asyncio.Future[None] = self._loop.create_future()
        connection = self._load.connection()
        connection.users += 1
        try:
            await asyncio.shield(connection.ready)
            self.port, self.reused = connection.port, connection.was_used
            if connection.is_leaving:
                raise ConnectionError("ended before the request")
            self._phase, self.sent = "head", True
            connection.begin(self)
            await self._done
        finally:
            connection.users -= 1

    def headers(self) -> list[tuple[str, str]]:
        """The whole request: no load over HTTP/2 has a body."""
        url = urlsplit(self._load.settings.url)
        path = f"{url.path or '/'}?{url.query and url.query + '&'}id={self._id}"
        names = (":method", ":scheme", ":path", ":authority")
        return list(zip(names, ("GET", url.scheme, path, url.netloc), strict=True))

    def end(self, error: OSError | None = None) -> None:
        """The response is complete, or there will be none."""
        if not self._done.done():  # the request may have timed out
            self._done.set_exception(error) if error else self._done.set_result(None)

    def _broken(self, error: OSError) -> tuple[Verdict, str]:
        if isinstance(error, NotProcessedError):
            self.sent = False
            return Verdict.REFUSED, str(error)
        self._send_error = "" if error.errno else str(error)
        return super()._broken(error)


class Connection:
    """One connection; users: how many streams want it; is_leaving: it takes no more."""

    def __init__(self, load: Load) -> None:
        self.users = 0
        self.port = 0
        self.was_used = False
        self.is_leaving = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._run(load))
        self._channel = Channel(load.family, load.tls)
        self._streams: dict[int, Stream] = {}
        self._number = 1
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()

    def begin(self, stream: Stream) -> None:
        """Send the request of a stream."""
        number, self._number, self.was_used = self._number, self._number + 2, True
        self._streams[number] = stream
        flags = ["END_HEADERS", "END_STREAM"]
        self._send(frames.HeadersFrame(number, self._encoder.encode(stream.headers()), flags=flags))

    async def _run(self, load: Load) -> None:
        """Connect, and read until the connection ends."""
        buffer = b""
        error: OSError = ConnectionError("EOF")
        try:
            await asyncio.get_running_loop().sock_connect(self._channel.sock, load.address)
            self.port = self._channel.sock.getsockname()[1]
            await self._channel.shake_hands()
            assert not self._channel.send(PREFACE)
            # No window for a load to fill: a response is small, and 2 GB go over a connection.
            settings = {frames.SettingsFrame.INITIAL_WINDOW_SIZE: LARGEST_WINDOW}
            update = frames.WindowUpdateFrame(0, LARGEST_WINDOW - USUAL_WINDOW)
            self._send(frames.SettingsFrame(0, settings), update)
            self.ready.set_result(None)
            while (self._streams or not self.is_leaving) and (
                data := await self._channel.receive()
            ):
                buffer = self._read_frames(buffer + data)
        except OSError as caught:
            error = caught
        finally:
            self.is_leaving = True
            self._channel.sock.close()
        if not self.ready.done():
            self.ready.set_exception(error)
        for stream in self._streams.values():
            stream.end(error)

    def _read_frames(self, data: bytes) -> bytes:
        """Take all whole frames; returns the rest."""
        while len(data) >= HEAD_BYTES:
            frame, length = frames.Frame.parse_frame_header(memoryview(data[:HEAD_BYTES]))
            end = HEAD_BYTES + length
            if len(data) < end:
                break
            frame.parse_body(memoryview(data[HEAD_BYTES:end]))
            self._take(frame)
            data = data[end:]
        return data

    def _take(self, frame: frames.Frame) -> None:
        stream = self._streams.get(frame.stream_id)
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self._send(frames.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, frames.GoAwayFrame):
            self.is_leaving = True
            for number in [each for each in self._streams if each > frame.last_stream_id]:
                self._streams.pop(number).end(NotProcessedError("GOAWAY"))
        elif isinstance(frame, frames.RstStreamFrame) and stream:
            refused = frame.error_code == REFUSED_STREAM
            error = (
                NotProcessedError("REFUSED_STREAM") if refused else ConnectionError("RST_STREAM")
            )
            self._streams.pop(frame.stream_id).end(error)
        elif isinstance(frame, frames.HeadersFrame):
            headers = self._decoder.decode(frame.data, raw=True)  # all of them: they have a state
            if stream:
                stream.response.headers.update(headers)
                stream.response.status = int(stream.response.headers[b":status"])
        elif isinstance(frame, frames.DataFrame) and stream:
            stream.response.body += frame.data
        if "END_STREAM" in frame.flags and stream:
            stream.response.complete = True
            self._streams.pop(frame.stream_id).end()

    def _send(self, *several: frames.Frame) -> None:
        """Raises OSError; a load this small never fills the kernel's buffer."""
        assert not self._channel.send(b"".join(each.serialize() for each in several))
