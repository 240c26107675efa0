"""Settings as an attack: refused in one line, at once, and never in a configuration file."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from docker_flask.plan import settings
from docker_flask.plan.settings import Settings
from docker_flask.shared.setting_error import SettingError
from docker_flask.worker.find import callables
from docker_flask.worker.find.candidates import NotFound

NAMES = [
    name
    for spec in fields(Settings)
    if spec.name != "log_level"  # no value is refused, because applications use this name, too
    for name in (spec.name.upper(), *spec.metadata["aliases"])
]
# Each would be allowed if it were shorter.
LONG = {
    name: pieces
    for names, pieces in (
        (("APP_MODULE", "FLASK_APP"), ("a", "a.", "a:b", "a:b('", "a:b(1,", "a:" + "b(" * 9)),
        (("UWSGI_INI", "STATIC_PATH"), ("a", "/a", "../", "./")),
        (("HEALTH_PATH", "SCRIPT_NAME", "STATIC_URL"), ("/a", "a", "/a/")),
        (("DEBUG_HOSTS",), ("a", "a-", ".")),
        (("WERKZEUG_DEBUG_PIN",), ("1", "1-")),
        (("TRUSTED_PROXIES",), ("1", "1.", "private,", "f:")),
    )
    for name in names
}
PLACES = ("/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "/etc")
# Each would mean something to nginx, uWSGI, a shell, a template or Python.
HOSTILE = [
    *(f"a{chr(code)}b" for code in (*range(1, 32), 127)),
    *"""a;b|a; include /etc/passwd|1; return 200|x;|$(id)|`id`|${HOME}|$host|{{ 7*7 }}|{% raw %}|a}
        |a{|%(home)|\\x00|a#b|a"b|a'b|<script>|a&b|a\\|~root|*|--help|-c /etc/passwd|@/etc/passwd
        |file:///etc/passwd|http://127.0.0.1/
        |tcp://10.0.0.1:80""".replace("\n        ", "").split("|"),
    "|id",
    "\udcff",
    "a\u2028b",
    "\u202e",
    "1\u0660",
    "80\nload_module x",
    "-" * 300,
    "a:b" + "(" * 300,
    *PLACES,
]
# What follows the name of a module in APP_MODULE and FLASK_APP.
EXPRESSIONS = [
    "__import__('os').system('id')",
    "b(__import__('os').system('id'))",
    "b(open('/dev/zero'))",
    "b(c)",
    "b(*[])",
    "b(1))",
    "b((1)",
    "b(x=lambda: 1)",
    "b(1)(2)",
    "b(1).c()",
    "b(" + "[" * 300 + "]" * 300 + ")",
]
# What one setting means by this, though it is hostile elsewhere.
HARMLESS = {
    *(("FLASK_APP", place) for place in PLACES),  # the worker imports it, or says why not
    ("FLASK_APP", "1\u0660"),
    ("FLASK_APP", "/x"),
    ("UWSGI_INI", "/proc/self/environ"),  # it has no options
    # A Service's.
    *((f"{name}_PORT", "tcp://10.0.0.1:80") for name in ("LISTEN", "STATUS", "TLS")),
    ("STATIC_URL", "http://127.0.0.1/"),  # Django's
    *((name, place) for name in ("HEALTH_PATH", "SCRIPT_NAME", "STATIC_URL") for place in PLACES),
    # Read later, and only if it is a file with a certificate.
    *((name, place) for name in ("TLS_CERTIFICATE", "TLS_KEY", "ACME_CA") for place in PLACES),
}


def refusal(name: str, value: str) -> str:
    """The message, which comes at once and is one line that a person can read."""
    begun = time.process_time()
    with pytest.raises(SettingError) as caught:
        pytest.fail(f"{settings.read({name: value})} by {value[:50]!r}")
    assert time.process_time() - begun < 0.25, f"{name}={value[:50]!r}"
    message = str(caught.value)
    assert message.startswith(f"{name}=")
    assert len(message) < 1_500
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", NAMES)
def test_hostile_values(name: str) -> None:
    for value in HOSTILE:
        if (name, value) not in HARMLESS:
            refusal(name, value)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_run_no_code(expression: str) -> None:
    module = ModuleType("a")
    vars(module)["b"] = lambda *_, **__: pytest.fail("called")
    with pytest.raises(NotFound):
        callables.resolve(module, expression, "APP_MODULE")


@pytest.mark.parametrize("value", [*HOSTILE, "WARNING", "10", "Debug"])
def test_log_level_is_one_of_two_words(value: str) -> None:
    found = settings.read({"LOG_LEVEL": value})
    assert found["log_level"].value == ("debug" if value == "Debug" else "info")


@pytest.mark.parametrize("name", NAMES)
def test_long_values(name: str) -> None:
    for length in (1_001, 4_097, 100_000):
        for piece in ("x", "1", "1 ", "/x", *LONG.get(name, ())):
            value = (piece * length)[:length].strip()
            if (name, piece) not in HARMLESS or length > 10_000:
                message = refusal(name, value)
                assert length < 500 or f"({len(value)} characters)" in message


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Files and folders that no setting may mean."""
    found = {name: tmp_path / name for name in ("fifo", "folder", "large", "loop", "dangling")}
    os.mkfifo(found["fifo"])
    found["folder"].mkdir()
    with found["large"].open("wb") as file:
        file.truncate(1 << 40)
    found["loop"].symlink_to(found["loop"])
    found["dangling"].symlink_to("none")
    return found


@pytest.mark.parametrize(
    ("name", "places_refused"),
    [
        ("UWSGI_INI", ("fifo", "folder", "loop", "dangling")),
        ("STATIC_PATH", ("fifo", "large", "loop", "dangling")),
    ],
)
def test_files(places: dict[str, Path], name: str, places_refused: tuple[str, ...]) -> None:
    for place in places_refused:
        refusal(name, str(places[place]))


@pytest.mark.parametrize("folder", ["/etc/ssl", "/proc/1", "/root/../sys"])
def test_folders_of_the_system_are_not_published(folder: str) -> None:
    assert "nor is of the system" in refusal("STATIC_PATH", folder)
