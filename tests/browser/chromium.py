"""The distribution's Chromium, and pictures to upload with it."""

from __future__ import annotations

import colorsys
import math
import shutil
import struct
import zlib

from playwright.sync_api import Browser, Playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    f"no browser here ({', '.join(PROGRAMS)}): "
    "install one with apt-get install -y --no-install-recommends chromium"
)
# It runs as root in CI, and nothing is to go out of its own accord.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAYERS = 4  # of hills in a picture


def find() -> str | None:
    """The path of the browser, None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def launch(playwright: Playwright) -> Browser:
    """Start the browser; raises FileNotFoundError, with what to install, if there is none."""
    program = find()
    if not program:
        raise FileNotFoundError(MISSING)
    return playwright.chromium.launch(executable_path=program, args=ARGUMENTS)


def png(width: int, height: int, hue: float = 0.0) -> bytes:
    """A picture of hills under a sun; hue: 0 to 1."""

    def layer(x: float, y: float) -> int:
        sunny = math.hypot((x - 0.3 - 0.4 * hue) * width / height, y - 0.25) < 0.12
        hills = sum(
            y > 0.4 + 0.14 * k + 0.06 * math.sin(math.tau * (x * (1 + k / 3) + hue * (k + 2)))
            for k in range(LAYERS)
        )
        return hills or (-1 if sunny else 0)

    shades = [(0.88 - 0.15 * k, hue + 0.04 * k) for k in range(LAYERS + 1)] + [(0.97, hue)]
    palette = [
        bytes(round(255 * level) for level in colorsys.hls_to_rgb(tone, light, 0.5))
        for light, tone in shades
    ]
    rows = (
        b"\0" + b"".join(palette[layer(x / width, y / height)] for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))
