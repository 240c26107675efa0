"""Downloads one file with several clients at once, of which one is slow.

    python3 download.py URL BYTES CLIENTS SLOW_BYTES_A_SECOND

Run inside the container's network. Prints a line of JSON: bytes a second of all the fast clients
together, and how many clients did not get the whole file.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

PIECE = 1 << 20
PATIENCE = 30  # s without a byte


def download(url: str, rate: float = 0) -> tuple[int, float]:
    """Bytes that came, and when the last did; at most `rate` bytes a second, if that is not 0."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    begun, received, piece = time.monotonic(), 0, bytearray(PIECE)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        while response.status == 200 and (count := response.readinto(piece)):
            received += count
            if rate:
                time.sleep(max(0, begun + received / rate - time.monotonic()))
    except (OSError, http.client.HTTPException) as error:
        print(f"after {received} bytes: {error!r}", file=sys.stderr)
    finally:
        connection.close()
    return received, time.monotonic()


def main() -> None:
    """The slow one begins, so that the others have to live with it."""
    url, size, clients, slow_rate = sys.argv[1], *map(int, sys.argv[2:])
    with ThreadPoolExecutor(clients) as pool:
        slow = pool.submit(download, url, slow_rate)
        time.sleep(0.2)
        begun = time.monotonic()
        fast = [pool.submit(download, url) for _ in range(clients - 1)]
        results = [one.result() for one in fast]
        speed = sum(count for count, _ in results) / (max(end for _, end in results) - begun)
        errors = sum(count != size for count, _ in [*results, slow.result()])
    print(json.dumps({"speed": speed, "errors": errors}))


if __name__ == "__main__":
    main()
