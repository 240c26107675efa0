"""The user's files for nginx: what is read from them, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.plan import nginx_files
from docker_flask.plan.nginx_syntax import directives
from docker_flask.shared.setting_error import SettingError

RUNTIME = Path("/run/somewhere")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc/nginx, and for /app/nginx.conf in it."""
    monkeypatch.setattr(nginx_files, "FOLDER", tmp_path)
    monkeypatch.setattr(nginx_files, "WHOLE", tmp_path / "whole.conf")
    for name in ("conf.d", "server.d", "location.d"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gzip\n  on  ;gzip_types a b", [("", "gzip", "on")]),  # the second has no end
        ("# gzip on;\nsendfile off; # no\n", [("", "sendfile", "off")]),
        ("add_header A 'x; y {';", [("", "add_header", "A|x; y {")]),
        ('add_header A "a \\" ; b";', [("", "add_header", 'A|a \\" ; b')]),
        ("set $a ${b}c; set $d {;}", [("", "set", "$a|${b}c"), ("", "set", "$d")]),
        (
            "http { server { listen 80; location ~ ^/a$ { return 204; } } gzip on; }\npid p;",
            [
                ("", "http", ""),
                ("http", "server", ""),
                ("http server", "listen", "80"),
                ("http server", "location", "~|^/a$"),
                ("http server location", "return", "204"),
                ("http", "gzip", "on"),
                ("", "pid", "p"),
            ],
        ),
        ("} } gzip on;", [("", "gzip", "on")]),
    ],
)
def test_directives(text: str, found: list[tuple[str, str, str]]) -> None:
    assert [(" ".join(d.blocks), d.name, "|".join(d.arguments)) for d in directives(text)] == found


def test_a_snippet_takes_the_place_of_a_line(folder: Path) -> None:
    (folder / "conf.d/a.conf").write_text(
        "client_max_body_size 5m;\nadd_header A b;\nmap $a $b { sendfile on; }\n"
        "server { tcp_nopush off; }\ninclude more/*.inc;\n"
    )
    (folder / "more").mkdir()
    (folder / "more/b.inc").write_text("gzip off;\n")
    (folder / "conf.d/unused.txt").write_text("sendfile off;\n")
    text = (
        "pid x;\nhttp {\n    sendfile on;\n    tcp_nopush on;\n    add_header C d;\n"
        "    gzip\n      on;\n    client_max_body_size 0;\n"
        "    server {\n        client_max_body_size 1m;\n    }\n}\n"
    )
    file = folder / "conf.d/a.conf"
    found = nginx_files.read().overrides
    assert found == {"client_max_body_size": file, "gzip": file}
    assert nginx_files.without(text, found) == (
        text.replace("gzip\n      on;", f"# gzip: {file}\n").replace(
            "client_max_body_size 0;", f"# client_max_body_size: {file}"
        ),
        [f"{file} overrides the image's {name}" for name in ("client_max_body_size", "gzip")],
    )


def test_a_whole_configuration_is_adopted_line_by_line() -> None:
    text = (
        "user nginx;\ndaemon on; # a comment\npid\n  /var/run/nginx.pid;\nevents { }\n"
        "http\n{\n    proxy_temp_path /somewhere;\n    server { listen 80; }\n}\n"
    )
    adopted = nginx_files.adopt(text, RUNTIME)
    assert adopted.count("\n") == text.count("\n")
    lines = adopted.splitlines()
    assert lines[0] == f"daemon off; pid {RUNTIME}/nginx.pid; "
    assert lines[1:4] == [" # a comment", "", ""]
    assert lines[5].startswith(f"http {{ client_body_temp_path {RUNTIME}/client_body_temp_path;")
    assert f"listen unix:{RUNTIME}/nginx.sock;" in lines[5]
    assert adopted.count("proxy_temp_path") == 1
    assert lines[7:] == text.splitlines()[7:]


def test_a_whole_configuration_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_files, "WHOLE", Path("/proc/self/mem"))
    with pytest.raises(SettingError, match="/proc/self/mem can't be read: Input/output error"):
        nginx_files.read()


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("80", [("0.0.0.0", 80)]),
        ("*:80 default_server", [("0.0.0.0", 80)]),
        ("0.0.0.0:443 ssl", [("0.0.0.0", 443)]),
        ("[::]:80", [("::", 80)]),
        # nginx binds these itself.
        ("[::]:80 ipv6only=off", []),
        ("127.0.0.1:80", []),
        ("80 reuseport", []),
        ("443 quic", []),
        ("99999", []),  # and says what is wrong with this one
    ],
)
def test_where_a_whole_configuration_listens(listen: str, found: list[tuple[str, int]]) -> None:
    nginx_files.WHOLE.write_text(f"http {{ server {{ listen {listen}; }} }}")
    assert nginx_files.addresses() == found


def test_where_included_files_listen(folder: Path) -> None:
    assert nginx_files.addresses() is None
    nginx_files.WHOLE.write_text("http { include conf.d/*.conf; }")
    (folder / "conf.d/a.conf").write_text("server { listen 80; listen [::]:80; }\n")
    (folder / "conf.d/b.conf").write_text("server { listen 80; listen 8080; }\n")
    assert nginx_files.addresses() == [("0.0.0.0", 80), ("::", 80), ("0.0.0.0", 8080)]


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("conf.d", "server { location / { uwsgi_pass application; } }", "passes_requests"),
        ("conf.d", "include more.inc;", "passes_requests"),
        ("server.d", "location /a { uwsgi_pass application; }", ""),
        ("server.d", "add_header A b;", "adds_headers"),
        ("server.d", "location /a { add_header A b; }", ""),
        ("location.d", "add_header A b;", ""),
        ("server.d", "location /a { internal; }", "internal"),
        ("conf.d", "uwsgi_cache_path /tmp/x keys_zone=x:1m;", "has_own_cache"),
        ("server.d", "location /a { uwsgi_cache x; uwsgi_pass application; }", "has_own_cache"),
        ("server.d", "location /a { proxy_cache x; }", "has_own_cache"),
        ("conf.d", "open_file_cache off; # uwsgi_cache x;", ""),
    ],
)
def test_what_snippets_decide(folder: Path, name: str, text: str, fact: str) -> None:
    (folder / "more.inc").write_text("server { uwsgi_pass unix:///tmp/uwsgi.sock; }")
    (folder / name / "x.conf").write_text(text)
    (folder / name / "missing.conf").symlink_to("nowhere")
    found = nginx_files.read()
    facts = ("passes_requests", "adds_headers", "has_own_cache", "internal")
    assert [each for each in facts if getattr(found, each)] == [fact] * bool(fact)
