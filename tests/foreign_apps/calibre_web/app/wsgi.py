"""The callable that calibre-web lacks: its main() makes the application and starts a server."""

import contextlib
import sys

import calibreweb  # noqa: F401 (its folder becomes a place for imports)
from cps import app as app
from cps import main, web_server

sys.argv = ["cps"]
web_server.start = lambda: True
with contextlib.suppress(SystemExit):
    main.main()
