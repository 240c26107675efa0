"""An HTTP/1.1 response, read as it arrives, that knows whether all of it has arrived."""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 65536
# Not left to int(), which also takes "+5", "0x5" and "1_0".
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;.*)?")


class BadResponseError(ValueError):
    """The bytes are no HTTP/1.1 response, or more than one."""


class Response:
    """Feed it bytes; it says when the head is there and when the body is complete.

    `status` is None until the whole head has arrived; `headers` has lower-case names.
    `keep_alive` is whether the connection may carry another request after this one.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.complete = False
        self.keep_alive = False
        self._buffer = bytearray()
        self._chunked = False
        self._length: int | None = None  # None: the body ends where the connection does

    def feed(self, data: bytes) -> None:
        """Take the next bytes from the connection. Raises BadResponseError."""
        self._buffer += data
        if self.status is None and not self._read_head():
            return
        if self._chunked:
            self._read_chunks()
        else:
            self._read_plain()
        if self.complete and self._buffer:
            raise BadResponseError("bytes after the end of the response")

    def end(self) -> None:
        """The server closed the connection cleanly, which completes a body of unstated length."""
        if self.status is not None and not self._chunked and self._length is None:
            self.complete = True

    def _read_head(self) -> bool:
        """Take the head off the buffer, skipping 1xx ones; False if it is not all there yet."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise BadResponseError("endless head")
                return False
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            status = self._parse_head(head)
            if status >= 200:
                self.status = status
                return True

    def _parse_head(self, head: bytes) -> int:
        status_line, *lines = head.split(b"\r\n")
        version, _, rest = status_line.partition(b" ")
        code = rest[:3]
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not code.isdigit():
            raise BadResponseError(f"status line {status_line[:80]!r}")
        status = int(code)
        headers = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise BadResponseError(f"header {line[:80]!r}")
            headers[name.lower()] = value.strip()
        self.headers = headers
        self._set_framing(version, status)
        return status

    def _set_framing(self, version: bytes, status: int) -> None:
        """Decide from the head where the body ends and whether the connection lives on."""
        headers = self.headers
        options = headers.get(b"connection", b"").lower().replace(b" ", b"").split(b",")
        self.keep_alive = b"close" not in options and (
            version == b"HTTP/1.1" or b"keep-alive" in options
        )
        self._chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        self._length = None
        length = headers.get(b"content-length")
        if status in (204, 304) or status < 200:
            self._chunked, self._length = False, 0
        elif length is not None:
            if not length.isdigit():
                raise BadResponseError(f"content-length {length[:80]!r}")
            self._length = int(length)
        elif not self._chunked:
            self.keep_alive = False

    def _read_plain(self) -> None:
        if self._length is None:
            self.body += self._buffer
            self._buffer.clear()
            return
        missing = self._length - len(self.body)
        self.body += self._buffer[:missing]
        del self._buffer[:missing]
        self.complete = len(self.body) == self._length

    def _read_chunks(self) -> None:
        """Move whole chunks to the body; complete after the last one and its trailers."""
        buffer = self._buffer
        while (line_end := buffer.find(b"\r\n")) >= 0:
            line = CHUNK_SIZE.fullmatch(buffer, 0, line_end)
            if not line:
                raise BadResponseError(f"chunk size {bytes(buffer[:line_end][:80])!r}")
            size = int(line[1], 16)
            if size == 0:
                self._read_trailers(line_end)
                return
            start = line_end + 2
            if len(buffer) < start + size + 2:
                return
            if buffer[start + size : start + size + 2] != b"\r\n":
                raise BadResponseError("chunk longer than it said")
            self.body += buffer[start : start + size]
            del buffer[: start + size + 2]

    def _read_trailers(self, line_end: int) -> None:
        """After the last chunk's line: trailer lines, if any, up to an empty one."""
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end >= 0:
            del self._buffer[: end + 4]
            self.complete = True
