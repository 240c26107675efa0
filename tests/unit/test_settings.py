"""Settings: defaults, aliases, what is refused, and the table in the README.

`python tests/unit/test_settings.py` prints that table.
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":  # pytest is told this by pyproject.toml
    sys.path.insert(0, str(ROOT))

from docker_flask.limits import Limits  # noqa: E402
from docker_flask.settings import SettingError, Settings, explain, load  # noqa: E402

GIB = 1 << 30
LIMITS = Limits(
    cpus=1.5,
    cpus_source="cgroup quota of 1.5",
    memory=8 * GIB,
    memory_source="machine's 8192 MiB",
    descriptors=65_536,
    backlog=4_096,
)
NAMES = [spec.name.upper() for spec in fields(Settings)]
# Text that must not get into any setting: each would mean something to nginx, uWSGI or a shell.
EVIL = [
    "x;",
    "1;",
    "1; return 200",
    "1\n2",
    "80\nload_module x",
    "$(id)",
    "`id`",
    "{{ 7 }}",
    "%(home)",
    "1 2",
    "1}",
    "$host",
    "#",
    '"1"',
    "1\x00",
    "\u0661",  # a digit for Python's int(), not for nginx
]


def settings_table() -> str:
    """The README's table of settings, as the code has them."""
    rows = ["| Setting | Default | Meaning |", "| --- | --- | --- |"]
    for spec in fields(Settings):
        names = f"`{spec.name.upper()}`"
        if spec.metadata["aliases"]:
            names += " (" + ", ".join(f"`{alias}`" for alias in spec.metadata["aliases"]) + ")"
        default = spec.metadata["default"]
        if default is None:
            default = "not set"
        elif callable(default):
            default = "from the limits"
        rows.append(f"| {names} | {default} | {spec.metadata['meaning']} |")
    return "\n".join(rows)


def read(**environ: str) -> Settings:
    return load(environ, LIMITS)


def refusal(name: str, value: str) -> str:
    """The message with which a value is refused."""
    with pytest.raises(SettingError) as caught:
        load({name: value}, LIMITS)
    return str(caught.value)


def test_defaults() -> None:
    assert asdict(read()) == {
        "listen_port": 80,
        "app_module": None,
        "web_concurrency": 4,  # two for each of the CPUs that 1.5 need
        "threads": 1,
        "request_timeout": 60.0,
        "start_timeout": 120.0,
        "drain_delay": 1.0,
        "graceful_timeout": 8.0,
        "max_upload": "0",
        "access_log": True,
        "install_on_start": False,
    }


@pytest.mark.parametrize(
    ("cpus", "memory", "workers"),
    [
        (0.5, 8 * GIB, 2),
        (1.0, 8 * GIB, 2),
        (2.5, 8 * GIB, 6),
        (64.0, 256 * GIB, 128),
        (8.0, 512 << 20, 4),  # 256 MiB for workers of 64
        (8.0, 64 << 20, 1),
        (1.0, 1 << 20, 1),
    ],
)
def test_workers_follow_from_cpus_and_memory(cpus: float, memory: int, workers: int) -> None:
    assert load({}, replace(LIMITS, cpus=cpus, memory=memory)).web_concurrency == workers


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LISTEN_PORT", "8080", 8080),
        ("LISTEN_PORT", "65535", 65535),
        ("LISTEN_PORT", " 81 ", 81),
        ("APP_MODULE", "shop", "shop"),
        ("APP_MODULE", "shop.web:app", "shop.web:app"),
        ("APP_MODULE", "shop:make('x', n=1)", "shop:make('x', n=1)"),
        ("WEB_CONCURRENCY", "1024", 1024),
        ("THREADS", "8", 8),
        ("REQUEST_TIMEOUT", "2.5", 2.5),
        ("START_TIMEOUT", "1", 1.0),
        ("DRAIN_DELAY", "0", 0.0),
        ("GRACEFUL_TIMEOUT", "0", 0.0),
        ("MAX_UPLOAD", "50M", "50m"),
        ("MAX_UPLOAD", "1048576", "1048576"),
        *(("ACCESS_LOG", text, False) for text in ("0", "off", "False", "no")),
        *(("INSTALL_ON_START", text, True) for text in ("1", "ON", "true", "Yes")),
    ],
)
def test_accepted(name: str, text: str, value: object) -> None:
    assert getattr(read(**{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "alias", "texts"),
    [
        ("LISTEN_PORT", "PORT", ("8080", "9090")),
        ("WEB_CONCURRENCY", "UWSGI_PROCESSES", ("3", "5")),
        ("MAX_UPLOAD", "NGINX_MAX_UPLOAD", ("1m", "2m")),
    ],
)
def test_alias(name: str, alias: str, texts: tuple[str, str]) -> None:
    by_alias = str(getattr(read(**{alias: texts[0]}), name.lower()))
    by_both = str(getattr(read(**{alias: texts[0], name: texts[1]}), name.lower()))
    assert (by_alias, by_both) == texts
    assert refusal(alias, "some").startswith(f"{alias}='some'"), "name the variable that was set"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_empty_is_unset(name: str, text: str) -> None:
    assert load({name: text}, LIMITS) == read()


def test_empty_name_lets_the_alias_speak() -> None:
    assert read(LISTEN_PORT="", PORT="8080").listen_port == 8080


WHOLE = ["text", "-1", "+1", "1.5", "1e3", "0x10", "9" * 9, "9" * 400, "1_000", *EVIL]
SECONDS = ["text", "-1", "1s", "1e3", "nan", "inf", "9" * 9, "9" * 400, ".5", "1.", *EVIL]
WORDS = ["text", "2", "-1", "enabled", *EVIL]
SIZES = ["text", "-1", "1.5m", "50mb", "1t", "m", "9" * 20, *EVIL]
CALLABLES = [
    "1app",
    "app-module:app",
    "app:",
    "app:1",
    "app:a b",
    "app:make(\n)",
    "/etc/passwd",
    "app/app.py",
    *EVIL,
]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        (name, value, allowed)
        for name, values, allowed in [
            ("LISTEN_PORT", ["0", "65536", *WHOLE], "a whole number from 1 to 65535"),
            ("PORT", ["0", "65536"], "a whole number from 1 to 65535"),
            ("APP_MODULE", CALLABLES, "package.module:callable"),
            ("WEB_CONCURRENCY", ["0", "1025", *WHOLE], "a whole number from 1 to 1024"),
            ("UWSGI_PROCESSES", ["0"], "a whole number from 1 to 1024"),
            ("THREADS", ["0", "257", *WHOLE], "a whole number from 1 to 256"),
            ("REQUEST_TIMEOUT", ["0", "0.9", "86401", *SECONDS], "seconds from 1 to 86400"),
            ("START_TIMEOUT", ["0", "3601", *SECONDS], "seconds from 1 to 3600"),
            ("DRAIN_DELAY", ["301", *SECONDS], "seconds from 0 to 300"),
            ("GRACEFUL_TIMEOUT", ["3601", *SECONDS], "seconds from 0 to 3600"),
            ("MAX_UPLOAD", SIZES, "0 for no limit, or a number of bytes with k, m or g"),
            ("NGINX_MAX_UPLOAD", ["x"], "0 for no limit, or a number of bytes with k, m or g"),
            ("ACCESS_LOG", WORDS, "1 or 0"),
            ("INSTALL_ON_START", WORDS, "1 or 0"),
        ]
        for value in values
    ],
    ids=lambda text: ascii(text)[1:25],
)
def test_refused(name: str, value: str, allowed: str) -> None:
    message = refusal(name, value)
    assert message.startswith(f"{name}={value!r} ")
    assert allowed in message
    assert "\n" not in message


def test_explain_says_where_each_value_comes_from() -> None:
    environ = {"PORT": "8080", "THREADS": "4", "DRAIN_DELAY": "0.5", "ACCESS_LOG": "off"}
    rows = {name: (value, source) for name, value, source in explain(environ, LIMITS)}
    assert list(rows) == NAMES
    assert rows["LISTEN_PORT"] == ("8080", "PORT")
    assert rows["THREADS"] == ("4", "THREADS")
    assert rows["DRAIN_DELAY"] == ("0.5", "DRAIN_DELAY")
    assert rows["ACCESS_LOG"] == ("0", "ACCESS_LOG")
    assert rows["REQUEST_TIMEOUT"] == ("60", "default")
    assert rows["APP_MODULE"] == ("", "default")
    assert rows["WEB_CONCURRENCY"] == ("4", "decided from the cgroup quota of 1.5")


def test_explain_names_memory_when_that_decides() -> None:
    small = replace(LIMITS, memory=192 << 20, memory_source="cgroup limit of 192 MiB")
    rows = {name: (value, source) for name, value, source in explain({}, small)}
    assert rows["WEB_CONCURRENCY"] == ("1", "decided from the cgroup limit of 192 MiB")


def test_explain_refuses_what_load_refuses() -> None:
    with pytest.raises(SettingError, match=r"THREADS='many'.*a whole number from 1 to 256"):
        explain({"THREADS": "many"}, LIMITS)


def test_table_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    tables = re.findall(r"<!-- settings -->\n+(.*?)\n+<!-- /settings -->", text, re.DOTALL)
    assert tables == [settings_table()], "python tests/unit/test_settings.py prints it"


if __name__ == "__main__":
    print(settings_table())
