"""Buffers of nginx: their sizes, and how many requests fit into the container's memory.

Slow clients of one kind may fill SHARE of the memory. nginx needs, in the worst case, in bytes:

- for a connection: `own`, and the buffers of the request's headers;
- for a request with a body: BODY more (client_body_buffer_size);
- for a response: `own`, the request's headers, the buffer of the response's headers, and BUFFERS
  buffers of the response;
- for a static file: `own`, the request's headers, and FILE (output_buffers).

A response that nginx compresses needs up to 390 KB more while its client reads slowly, if the
compressed response does not fit into the kernel's buffer: this is not part of the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

KB = 1 << 10
SHARE = 0.75
# Pools of a connection and of a request, and the first buffer of its headers.
OWN = 7 * KB
BODY, FILE = 16 * KB, 32 * KB
# nginx takes so many buffers of headers from a request (large_client_header_buffers).
HEADER_BUFFERS = 2
# Beside the headers of a response, their buffer has the status line and the key of a cached page.
KEY = 12 * KB
BUFFERS = 8
PAGE = 4 * KB
# nginx accepts no larger number for limit_conn.
MAX_LIMIT = 65_535


@dataclass(frozen=True)
class Buffers:
    """Sizes in bytes, and numbers of requests.

    header: a line of a request's headers; headers: all headers of a request or of a response;
    first: the buffer of a response's headers; buffer: one of BUFFERS buffers of the response.
    connections, responses, bodies, files: how many fit into the memory.
    """

    header: int
    headers: int
    first: int
    buffer: int
    connections: int
    responses: int
    bodies: int
    files: int


def compute(memory: int) -> Buffers:
    """The buffers for a container with this memory in bytes: large headers need 2 GB and more."""
    header = min(max(memory >> 16, 8 * KB), 64 * KB) // PAGE * PAGE
    headers = min(max(memory >> 15, 16 * KB), 64 * KB) // PAGE * PAGE
    first = headers + KEY
    # nginx sends one buffer less at a time, and the first buffer has to fit into those.
    buffer = -(-first // (BUFFERS - 1) // PAGE) * PAGE
    request = OWN + HEADER_BUFFERS * header
    response = request + first + BUFFERS * buffer
    room = int(memory * SHARE)
    return Buffers(
        header=header,
        headers=headers,
        first=first,
        buffer=buffer,
        connections=room // request,
        responses=room // response,
        bodies=room // (response + BODY),
        files=min(room // (request + FILE), MAX_LIMIT),
    )
