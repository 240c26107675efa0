"""The callable that changedetection.io lacks.

Its main() makes the application and starts a server.
"""

import os
import shlex
import sys

import changedetectionio
from flask_socketio import SocketIO

SocketIO.run = lambda *arguments, **options: None
options = shlex.split(os.environ.get("CHANGEDETECTION_OPTIONS", ""))
sys.argv = ["changedetection.io", "-d", "/data", *options]
changedetectionio.main()
app = changedetectionio.app
