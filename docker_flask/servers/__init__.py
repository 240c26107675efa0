"""The application server for each value of APP_SERVER."""

from __future__ import annotations

from docker_flask.servers.gunicorn import GUNICORN
from docker_flask.servers.uwsgi import UWSGI

SERVERS = {"uwsgi": UWSGI, "gunicorn": GUNICORN}
