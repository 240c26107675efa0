"""Frames of the WebSocket protocol (RFC 6455, section 5.2), as far as the image must know them."""

import math
import struct

# Close codes (RFC 6455, section 7.4.1): the server goes away; against its rules; a message is
# too big.
GOING_AWAY, POLICY_VIOLATION, TOO_BIG = 1001, 1008, 1009
# The first byte: the last frame of a message, the kind; kinds from the second on are for control.
_LAST, _CONTROL = 0x80, 0x08
# The second byte: is there a mask, and the size. Two values say in how many bytes the size follows.
_MASKED, _SIZE = 0x80, 0x7F
_SIZE_FOLLOWS = {126: 2, 127: 8}
_MASK_BYTES = 4


def close(code: int) -> bytes:
    """The frame with which a server closes a connection."""
    return struct.pack(">BBH", _LAST | _CONTROL, 2, code)


class Messages:
    """Adds up the bytes of each message that a client sends; largest: allowed bytes, 0 for all."""

    def __init__(self, largest: int) -> None:
        self._largest = largest or math.inf
        # The beginning of a head; bytes up to the next head; bytes of the message so far.
        self._head = b""
        self._left = self._size = 0

    def fit(self, data: bytes) -> bool:
        """Look at the next bytes of the connection; returns False if a message is too large."""
        data, position = self._head + data, self._left
        while position + 2 <= len(data):
            first, second = data[position : position + 2]
            follows = _SIZE_FOLLOWS.get(second & _SIZE, 0)
            end = position + 2 + follows
            if end > len(data):
                break
            size = int.from_bytes(data[end - follows : end]) if follows else second & _SIZE
            position = end + size + (_MASK_BYTES if second & _MASKED else 0)
            if first & _CONTROL:
                continue
            self._size += size
            if self._size > self._largest:
                return False
            if first & _LAST:
                self._size = 0
        self._head, self._left = data[position:], max(0, position - len(data))
        return True
