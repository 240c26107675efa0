"""Production without debuggers, however an application brings one.

Each case runs in a fresh process, because classes are changed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.harness import run_python

DEBUGGER = "Werkzeug's debugger (DebuggedApplication) is ignored in production: use -d debug"
DEBUG = "app.debug is ignored in production: use -d debug"
# cases: code that creates `application`; the result: what a client gets, and what the log says.
CODE = """
import json, sys
from docker_flask.worker import no_debug

def run(code):
    namespace = {"__name__": "loaded"}
    exec(code, namespace)
    application = namespace["application"]
    lines = no_debug.report(namespace["app"])
    from werkzeug.test import Client
    client = Client(application)
    answers = {}
    for path in ("/", "/console", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/fail"):
        try:
            response = client.get(path)
            answers[path.partition("=")[0]] = [response.status_code, response.text]
        except ZeroDivisionError:
            answers[path] = "raised"
    return {"lines": [*lines], "answers": answers}

before, cases = json.loads(sys.argv[1])
exec(before)
no_debug.turn_off()
found = []
for case in cases:
    no_debug._found.clear()
    found.append(run(case))
print(json.dumps(found))
"""
APP = """
import flask
app = application = flask.Flask("shop")
@app.get("/")
def hello():
    return f"{app.debug} {app.config['DEBUG']} {app.jinja_env.auto_reload}"
@app.get("/fail")
def fail():
    return 1 / 0
"""
WRAP = """
from werkzeug.debug import DebuggedApplication
application = DebuggedApplication(application, evalex=True, pin_security=False)
"""
CASES = [
    ("", []),
    ("app.debug = True", [DEBUG]),
    ("app.config['DEBUG'] = True", [DEBUG]),
    (f"{WRAP}app.debug = True", [DEBUGGER, DEBUG]),
    (f"app.config |= {{'TESTING': True, 'PROPAGATE_EXCEPTIONS': True}}{WRAP}", [DEBUGGER]),
]


@pytest.mark.parametrize(("before", "flask_debug"), [("", "1"), ("import werkzeug.debug", "0")])
def test_no_debugger(before: str, flask_debug: str) -> None:
    cases = [f"import os\nos.environ['FLASK_DEBUG'] = '{flask_debug}'\n{APP}{c}" for c, _ in CASES]
    found: list[dict[str, Any]] = run_python(CODE, json.dumps([before, cases]))
    for (case, lines), one in zip(CASES, found, strict=True):
        answers = one["answers"]
        by_flask = [DEBUG] if flask_debug == "1" else []
        assert {*one["lines"]} == {*lines, *by_flask}, case
        assert answers["/"] == [200, "False False False"]
        assert answers["/?__debugger__"] == answers["/"], "the application's own page"
        assert answers["/console"][0] == 404
        assert answers["/fail"] == "raised" or "Traceback" not in answers["/fail"][1]


def test_no_flask_and_no_werkzeug() -> None:
    """An application of another framework costs no import of these."""
    code = """
        import json, sys
        from docker_flask.worker import no_debug
        no_debug.turn_off()
        print(json.dumps([no_debug.report(print), [n for n in sys.modules if "werkzeug" in n]]))
    """
    assert run_python(code) == [[], []]
