"""Frames of the WebSocket protocol (RFC 6455, section 5.2), as far as the image must know them."""

from __future__ import annotations

import math
import struct

# Close codes (RFC 6455, section 7.4.1): the server goes away; a message is too big.
GOING_AWAY, TOO_BIG = 1001, 1009
_SHORTEST = 2
# The second byte of a frame: is there a mask, and the size. Two sizes mean: the size follows, in so
# many bytes.
_MASKED, _SIZE = 0x80, 0x7F
_SIZE_FOLLOWS = {126: 2, 127: 8}
_MASK_BYTES = 4
# The first byte: the last frame of a message, the kind; kinds from the second on are for control.
_LAST, _CONTROL = 0x80, 0x08


def close(code: int) -> bytes:
    """The frame with which a server closes a connection."""
    return struct.pack(">BBH", _LAST | _CONTROL, 2, code)


class Messages:
    """Adds up the bytes of each message that a client sends; largest: allowed bytes, 0 for all."""

    def __init__(self, largest: int) -> None:
        self._largest = largest or math.inf
        self._head = b""
        self._left = self._size = 0

    def fit(self, data: bytes) -> bool:
        """Look at the next bytes of the connection; returns False if a message is too large."""
        rest = memoryview(data)
        while rest:
            if self._left:
                skipped = min(self._left, len(rest))
                self._left -= skipped
                rest = rest[skipped:]
                continue
            missing = self._head_size() - len(self._head)
            self._head += rest[:missing]
            rest = rest[missing:]
            if len(self._head) == self._head_size() and not self._begin():
                return False
        return True

    def _head_size(self) -> int:
        if len(self._head) < _SHORTEST:
            return _SHORTEST
        second = self._head[1]
        mask = _MASK_BYTES if second & _MASKED else 0
        return _SHORTEST + _SIZE_FOLLOWS.get(second & _SIZE, 0) + mask

    def _begin(self) -> bool:
        """Begin a frame, whose head is complete; returns False if its message is too large."""
        first, size = self._head[0], self._head[1] & _SIZE
        if size in _SIZE_FOLLOWS:
            size = int.from_bytes(self._head[_SHORTEST : _SHORTEST + _SIZE_FOLLOWS[size]])
        self._head, self._left = b"", size
        if first & _CONTROL:
            return True
        self._size += size
        fits = self._size <= self._largest
        if first & _LAST:
            self._size = 0
        return fits
