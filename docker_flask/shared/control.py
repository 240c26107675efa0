"""Asks the first process of this container: one word out, one line back.

`_socket` in place of `socket`, whose import would take as long as all the rest of a health check.
"""

import _socket
import os
import time
from typing import Any

from docker_flask.shared.paths import CONTROL_SOCKET

# Bytes of the largest response: an environment may have 6 MB, and more with escapes.
MAX_RESPONSE = 16 << 20


def ask(folder: str | os.PathLike[str], word: str, seconds: float) -> str:
    """Send a command and return the response; raises OSError after a timeout."""
    return exchange(f"{folder}/{CONTROL_SOCKET}", f"{word}\n", seconds)


def ask_json(folder: str | os.PathLike[str], word: str, seconds: float) -> Any:
    """The same, where the response is JSON; None if there is no response."""
    import json  # slow to import, and the health check needs none

    response = ask(folder, word, seconds)
    try:
        return json.loads(response) if response else None
    except (ValueError, RecursionError):
        raise OSError(f"the response to {word!r} is not one of process 1") from None


def exchange(path: str, request: str, seconds: float) -> str:
    """Send a request to a unix socket and return the response, printable; raises OSError.

    seconds: for all of that. The application can take the socket's place, and respond for ever.
    """
    deadline = time.monotonic() + seconds
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    response = bytearray()
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(request.encode())
        while part := connection.recv(65536):
            response += part
            if len(response) > MAX_RESPONSE:
                raise OSError(f"the response has more than {MAX_RESPONSE >> 20} MB")
            # Not 0, which would mean: do not wait.
            connection.settimeout(max(deadline - time.monotonic(), 1e-6))
    except TimeoutError:
        raise OSError(f"no complete response within {seconds:g} seconds") from None
    finally:
        connection.close()
    return printable(response.decode(errors="replace").strip())


def printable(text: str) -> str:
    """The text without what terminals obey: the application can take the socket's place."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
