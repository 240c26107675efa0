"""An HTTP/1.1 response, read as it arrives, that knows whether all of it has arrived."""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 65536
STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})\b")
# Not left to int(), which also takes "+5", "0x5" and "1_0".
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)\r\n")


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
        if self.status is None:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                if len(head) > MAX_HEAD_BYTES:
                    raise BadResponseError("endless head")
                return
            self._buffer = rest
            self._read_head(bytes(head))
        if self._chunked:
            self._read_chunks()
        else:
            missing = None if self._length is None else self._length - len(self.body)
            self.body += self._buffer[:missing]
            del self._buffer[:missing]
            self.complete = len(self.body) == self._length
        if self.complete and self._buffer:
            raise BadResponseError("bytes after the end of the response")

    def end(self) -> None:
        """The server closed the connection cleanly, which completes a body of unstated length."""
        if self.status is not None and not self._chunked and self._length is None:
            self.complete = True

    def _read_head(self, head: bytes) -> None:
        """Read status and headers, which say where the body ends and if the connection is kept."""
        status_line, *lines = head.split(b"\r\n")
        found = STATUS.match(status_line)
        if not found:
            raise BadResponseError(f"status line {status_line[:80]!r}")
        self.status = int(found[2])
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise BadResponseError(f"header {line[:80]!r}")
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = self.headers.get(b"content-length")
        if self.status in (204, 304):
            length, self._chunked = b"0", False
        if length is not None:
            if not length.isdigit():
                raise BadResponseError(f"content-length {length[:80]!r}")
            self._length = int(length)
        closes = found[1] == b"0" or self.headers.get(b"connection", b"").lower() == b"close"
        self.keep_alive = not closes and (self._chunked or length is not None)

    def _read_chunks(self) -> None:
        """Move whole chunks to the body; complete after the last one."""
        while not self.complete and b"\r\n" in self._buffer:
            line = CHUNK_SIZE.match(self._buffer)
            if not line:
                raise BadResponseError(f"chunk size {bytes(self._buffer[:80])!r}")
            size, start = int(line[1], 16), line.end()
            end = start + size
            if len(self._buffer) < end + 2:
                return
            if self._buffer[end : end + 2] != b"\r\n":
                raise BadResponseError("chunk longer than it said")
            self.body += self._buffer[start:end]
            del self._buffer[: end + 2]
            self.complete = size == 0
