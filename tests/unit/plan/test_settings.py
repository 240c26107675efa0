"""Settings: defaults, aliases, what is refused, and the table in docs/settings.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from docker_flask.plan import settings
from docker_flask.plan.limits import Limits
from docker_flask.plan.settings import Settings, ignored
from docker_flask.plan.validators import PRIVATE
from docker_flask.shared import secret_files
from docker_flask.shared.origin import FileValue
from docker_flask.shared.setting_error import SettingError

ROOT = Path(__file__).parents[3]

GIB = 1 << 30
LIMITS = Limits(
    cpus=1.5,
    cpus_reason="cgroup quota of 1.5 CPUs",
    memory=8 * GIB,
    memory_reason="machine's 8192 MiB",
    descriptors=65_536,
    backlog=4_096,
)
NAMES = [spec.name.upper() for spec in fields(Settings)]


def settings_table() -> list[str]:
    """The first columns of the table of docs/settings.md: names and defaults."""
    rows = []
    for spec in fields(Settings):
        names = f"`{spec.name.upper()}`"
        if spec.metadata["aliases"]:
            names += " (" + ", ".join(f"`{alias}`" for alias in spec.metadata["aliases"]) + ")"
        default = spec.metadata["default"]
        if default is None:
            default = "not set"
        elif callable(default):
            default = "from the limits"
        rows.append(f"| {names} | {default} |")
    return rows


def resolve(
    environ: Mapping[str, str],
    limits: Limits = LIMITS,
    of_files: Mapping[str, FileValue] | None = None,
) -> tuple[Settings, dict[str, str]]:
    return settings.resolve(settings.read(environ), limits, of_files)


def explain(*arguments: Any) -> dict[str, tuple[str, str]]:
    """Value and origin of each setting, by name."""
    chosen, origins = resolve(*arguments)
    return {
        name.upper(): (settings.show(name, getattr(chosen, name), origin), origin)
        for name, origin in origins.items()
    }


def read(**environ: str) -> Settings:
    return resolve(environ)[0]


def refusal(name: str, value: str) -> str:
    """The message with which a value is refused."""
    with pytest.raises(SettingError) as caught:
        read(**{name: value})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LISTEN_PORT", "8080", 8080),
        ("LISTEN_PORT", " 81 ", 81),
        ("STATUS_PORT", "OFF", 0),
        ("HEALTH_PATH", "/health/ready", "/health/ready"),
        ("APP_MODULE", "shop:make('x', n=1)", "shop:make('x', n=1)"),
        *(("FLASK_APP", text, text) for text in ("./src/my-hello.py", "shop:create('dev', n=1)")),
        ("UWSGI_INI", "/etc/passwd", "/etc/passwd"),
        ("MAX_WORKER_MEMORY", "32M", "32m"),
        ("REQUEST_TIMEOUT", "2.5", 2.5),
        ("GRACEFUL_TIMEOUT", "0", 0.0),
        ("MAX_UPLOAD", "1048576", "1048576"),
        ("RESPONSE_CACHE", "200M", "200m"),
        *(("RESPONSE_CACHE", text, "0") for text in ("0", "Off")),
        ("TRUSTED_PROXIES", "10.0.0.0/8,2001:DB8::/32", ("10.0.0.0/8", "2001:db8::/32")),
        ("TRUSTED_PROXIES", "192.0.2.0/255.255.255.0 , ::1,", ("192.0.2.0/24", "::1/128")),
        ("TRUSTED_PROXIES", "10.0.0.0/8 private\n192.0.2.1", (*PRIVATE, "192.0.2.1/32")),
        ("DEBUG_HOSTS", "Dev.example, .lan,10.0.0.1", ("dev.example", ".lan", "10.0.0.1")),
        ("WERKZEUG_DEBUG_PIN", "123-456-789", "123-456-789"),
        ("SCRIPT_NAME", "/shop/", "/shop"),
        ("STATIC_URL", "/static/", "/static"),
        ("STATIC_URL", "/assets/v1.2_3-4", "/assets/v1.2_3-4"),
        ("STATIC_PATH", "/usr/share/doc/../doc/", "/usr/share/doc"),
        ("NGINX_WORKER_PROCESSES", "auto", "auto"),
        *(("ACCESS_LOG", text, False) for text in ("0", "off", "False", "no")),
        *(("ACCESS_LOG", text, "json") for text in ("json", "JSON")),
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
    assert read(**{alias: texts[0], name: ""}) == read(**{alias: texts[0]})
    by_both = str(getattr(read(**{alias: texts[0], name: texts[1]}), name.lower()))
    assert (by_alias, by_both) == texts
    assert refusal(alias, "some").startswith(f"{alias}='some'"), "name the variable that was set"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_empty_is_unset(name: str, text: str) -> None:
    if name == "STATIC_URL":
        assert read(STATIC_URL=text).static_url == ""  # the exception: off
    else:
        assert read(**{name: text}) == read()


# For each setting: values that are refused, without those that test_hostile_settings.py gives to
# all, and what the message says instead.
WHOLE = ["text", "-1", "+1", "1.5", "1e3", "0x10", "9" * 9, "1_000", "\u0661"]
SECONDS = ["text", "-1", "1s", "1e3", "nan", "inf", "9" * 9, ".5", "1."]
SIZES = ["text", "-1", "1.5m", "50mb", "1t", "m", "9" * 20]
WORDS = ["text", "2", "-1", "enabled"]
REFUSED: list[tuple[str, list[str], str]] = [
    ("LISTEN_PORT", ["0", "65536", *WHOLE], "a whole number from 1 to 65535"),
    ("STATUS_PORT", ["0", "65536", *WHOLE], "a whole number from 1 to 65535, or off"),
    ("HEALTH_PATH", ["/", "up", "/up/", "//up", "/up;", "/a b"], "a path such as /up"),
    (
        "APP_MODULE",
        ["1app", "app-module:app", "app:", "app:1", "app/app.py"],
        "package.module:call",
    ),
    ("FLASK_APP", ["app:", "a b", ":app", "app:1", "$(id)"], "path/to/hello.py"),
    ("UWSGI_INI", ["/no/such.ini", "/etc"], "the path of an existing file"),
    ("WEB_CONCURRENCY", ["0", "1025", *WHOLE], "a whole number from 1 to 1024"),
    ("UWSGI_CHEAPER", ["1024", *WHOLE], "a whole number from 0 to 1023"),
    ("THREADS", ["0", "257", *WHOLE], "a whole number from 1 to 256"),
    ("MAX_REQUESTS", ["100000001", *WHOLE], "a whole number from 0 to 100000000"),
    ("MAX_WORKER_MEMORY", ["200", "31m", *SIZES], "0 for no limit, or a size of at least 32m"),
    ("REQUEST_TIMEOUT", ["0", "0.9", "86401", *SECONDS], "seconds from 1 to 86400"),
    ("START_TIMEOUT", ["0", "3601", *SECONDS], "seconds from 1 to 3600"),
    ("DRAIN_DELAY", ["301", *SECONDS], "seconds from 0 to 300"),
    ("GRACEFUL_TIMEOUT", ["3601", *SECONDS], "seconds from 0 to 3600"),
    ("RESPONSE_CACHE", ["2", "1023k", *SIZES], "0 for no cache, or a size of at least 1m"),
    ("MAX_UPLOAD", SIZES, "0 for no limit, or a size, such as 50m"),
    ("TRUSTED_PROXIES", ["*", "0.0.0.0/0", "::/0", "private ::/0"], "addresses, networks such as"),
    ("TRUSTED_PROXIES", ["10.0.0.1/8", "10.0.0", "fe80::1%eth0", "[::1]"], "addresses, networks"),
    ("TRUSTED_PROXIES", ["proxy.example", "10.0.0.1-10.0.0.9", "10.0.0.1:80"], "addresses, net"),
    ("ACCESS_LOG", WORDS, "1 or 0 (also on/off, true/false, yes/no), or json"),
    ("SCRIPT_NAME", ["shop", "/", "//a", "/a b", "/a;", "/(", "/$uri"], "a path such as /shop"),
    ("STATIC_URL", ["static", "/", "/a//b", "/a/../b", "/.hidden", "/a b", "/%61"], "/static"),
    ("STATIC_URL", ["/a?", "/~a", "/a;", "/a{", "/$uri", "^~ /a", '/a"'], "a path such as /static"),
    ("STATIC_PATH", ["/no/such", "/etc/passwd"], "an existing folder that does not contain the"),
    ("STATIC_PATH", ["/", ".", str(ROOT), str(ROOT.parent), ".."], "does not contain the app"),
    ("STATIC_MAX_AGE", WHOLE, "a whole number from 0 to 315360000"),
    ("NGINX_WORKER_PROCESSES", ["0", *WHOLE], "a whole number from 1 to 1024, or auto"),
    ("NGINX_WORKER_CONNECTIONS", ["63", *WHOLE], "a whole number from 64 to 1000000"),
    ("NGINX_WORKER_OPEN_FILES", ["127", *WHOLE], "a whole number from 128 to 1000000"),
    (
        "DEBUG_HOSTS",
        ["a b", "a,,b", "a.", "*", "a:5000", "http://a", "[::1]"],
        "host names without",
    ),
    ("WERKZEUG_DEBUG_PIN", ["text", "OFF", "-1", "1-", "1--2", "12 34"], "digits, with or without"),
    *((name, WORDS, "1 or 0") for name in ("PRELOAD", "SENDFILE", "STATIC_INDEX")),
    ("INSTALL_ON_START", WORDS, "1 or 0"),
]


@pytest.mark.parametrize(("name", "values", "allowed"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(name: str, values: list[str], allowed: str) -> None:
    for value in values:
        message = refusal(name, value)
        assert message.startswith(f"{name}={value!r} ")
        assert allowed in message
        assert "\n" not in message


@pytest.mark.parametrize("value", ["kid", "kid:", ":key", "kid:key:key", "kid key"])
def test_a_secret_is_refused_without_being_shown(value: str) -> None:
    message = refusal("ACME_EAB", value)
    assert message.startswith(f"ACME_EAB=({len(value)} characters) is not allowed; use KID:KEY, ")


def test_a_setting_from_a_file_is_never_shown() -> None:
    given = {"THREADS": "7", "THREADS_FILE": "/run/secrets/x", secret_files.DONE: "THREADS PORT"}
    assert explain(given)["THREADS"] == ("(secret)", "THREADS_FILE")
    assert ignored(given) == []
    with pytest.raises(SettingError, match=r"^PORT_FILE=\(4 characters\) is not allowed; use a w"):
        settings.read({**given, "PORT": "x123"})
    (sentence,) = ignored({"THREADS_FILE": "/etc/x"})
    assert sentence == "THREADS_FILE='/etc/x' is ignored: use a file in /run/secrets/"


def test_there_are_no_more_settings_than_a_person_can_know() -> None:
    """For a new one, another one goes, or is decided from the limits."""
    assert len(NAMES) <= 53


def test_the_fewest_workers_are_fewer_than_all() -> None:
    with pytest.raises(SettingError, match=r"UWSGI_CHEAPER=4 is .* below WEB_CONCURRENCY=4"):
        read(UWSGI_CHEAPER="4", WEB_CONCURRENCY="4")


def test_what_files_say_counts_where_the_environment_says_nothing() -> None:
    said = {"threads": FileValue("threads", "8", "/app/uwsgi.ini")}
    for environ, threads in (({}, 8), ({"THREADS": ""}, 8), ({"THREADS": "2"}, 2)):
        assert resolve(environ, LIMITS, said)[0].threads == threads
    assert explain({}, LIMITS, said)["THREADS"] == ("8", "threads in /app/uwsgi.ini")
    said = {"threads": FileValue("threads", "many", "/app/uwsgi.ini")}
    with pytest.raises(SettingError, match=r"^threads='many' in /app/uwsgi.ini is .* 1 to 256$"):
        resolve({}, LIMITS, said)


def test_flask_debug_is_named_in_production_if_it_is_on() -> None:
    (sentence,) = ignored({"FLASK_DEBUG": "on"})
    assert sentence == "FLASK_DEBUG='on' is ignored in production: use -d debug"
    assert ignored({"FLASK_DEBUG": "on"}, production=False) == []
    (sentence,) = ignored({"TLS_DOMAIN": "a.test"}, production=False)
    assert sentence == "TLS_DOMAIN is ignored in debug mode: use TLS_CERTIFICATE"
    assert ignored({"TLS_DOMAIN": "a.test"}) == []
    for value in ("", "0", "False", "no"):
        assert ignored({"FLASK_DEBUG": value}) == []


@pytest.mark.parametrize("zone", ["", "UTC", "Etc/UTC", "CET-1CEST", "<+03>-3", "EST5EDT", ":UTC"])
def test_a_time_zone_that_exists_needs_no_line(zone: str, tmp_path: Path) -> None:
    assert ignored({"TZ": zone}) == []
    (tmp_path / "zone").touch()
    assert ignored({"TZ": f"{tmp_path}/zone"}) == []
    (sentence,) = ignored({"TZ": "Europe/Berln"}, production=False)
    assert sentence.startswith("TZ='Europe/Berln' is no time zone, so the time is UTC: use")


def test_gunicorns_options_while_uwsgi_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (sentence,) = ignored({"GUNICORN_CMD_ARGS": "-w 3"})
    assert sentence.startswith("GUNICORN_CMD_ARGS is not read, because uWSGI serves the applica")
    (tmp_path / "gunicorn.conf.py").touch()
    (sentence,) = ignored({"APP_SERVER": "uwsgi"})
    assert sentence.endswith("remove it, or set APP_SERVER=gunicorn")
    assert ignored({"APP_SERVER": "gunicorn"}) == ignored({}, production=False) == []


@pytest.mark.parametrize("name", ["LISTEN_PORT", "STATUS_PORT"])
def test_a_service_of_kubernetes_is_no_setting(name: str) -> None:
    """https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""
    given = {name: "tcp://10.0.0.7:80"}
    assert explain(given) == explain({})
    (sentence,) = ignored(given)
    assert (
        sentence
        == f"{name}=tcp://10.0.0.7:80 is ignored: it is the address of a Service of Kubernetes"
    )


@pytest.mark.parametrize(
    "value", ["https://cdn.example.com/s/", "http://cdn", "//cdn.example.com", "static/", "a/b/"]
)
def test_the_static_url_of_django_is_no_setting(value: str) -> None:
    given = {"STATIC_URL": value}
    assert explain(given) == explain({})
    sentence = f"STATIC_URL={value} is ignored: it is no path on this server, such as /static"
    assert ignored(given) == [sentence]


def test_table_in_the_documentation() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    (table,) = re.findall(r"<!-- settings -->\n+(.*?)\n+<!-- /settings -->", text, re.DOTALL)
    rows = [re.fullmatch(r"(\| .+? \| .+? \|) \S.+ \|", row) for row in table.splitlines()[2:]]
    assert [row and row[1] for row in rows] == settings_table()
