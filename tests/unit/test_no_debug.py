"""Production without debuggers, however an application brings one.

tests/image/test_attacks.py has what clients get of it. Each case runs in a process of its own,
because classes are changed.
"""

from __future__ import annotations

import pytest

from tests.support.forked_python import run_python

DEBUGGER = "Werkzeug's debugger (DebuggedApplication) is ignored in production: use -d debug"
DEBUG = "app.debug is ignored in production: use -d debug"
# Prints what the log says, and the responses to PATHS.
PROGRAM = """
import json, sys
from docker_flask.worker import no_debug
no_debug.turn_off()
import flask
from werkzeug.test import Client

app = application = flask.Flask("shop")
app.add_url_rule("/", "page", lambda: f"{app.debug} {app.config['DEBUG']}")
app.add_url_rule("/fail", "fail", lambda: 1 / 0)
exec(sys.argv[1])
lines, client = [*no_debug.report(app)], Client(application)
paths = ("/", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/console", "/fail")
found = [client.get(path) for path in paths]
print(json.dumps([lines, [[response.status_code, response.text] for response in found]]))
"""
WRAP = """
from werkzeug.debug import DebuggedApplication
application = DebuggedApplication(application, evalex=True, pin_security=False)
"""


@pytest.mark.parametrize(
    ("code", "flask_debug", "lines"),
    [
        ("", "0", []),
        ("", "1", [DEBUG]),
        ("app.debug = True", "0", [DEBUG]),
        ("app.config['DEBUG'] = True", "0", [DEBUG]),
        (f"{WRAP}app.debug = True", "0", [DEBUG, DEBUGGER]),
    ],
)
def test_no_debugger(code: str, flask_debug: str, lines: list[str]) -> None:
    logged, answers = run_python(PROGRAM, code, env={"FLASK_DEBUG": flask_debug})
    assert sorted(logged) == sorted(lines)
    page, resource, console, failure = answers
    assert page == resource == [200, "False False"], "the application's own page"
    assert console[0] == 404
    assert failure[0] == 500
    assert "Traceback" not in failure[1]
