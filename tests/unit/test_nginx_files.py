"""The user's files for nginx: what is read from them, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.configuration import nginx_files
from docker_flask.configuration.nginx_files import File, NginxFiles, Overrides
from docker_flask.configuration.nginx_syntax import directives, is_complete
from docker_flask.configuration.validators import SettingError

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
        ("add_header A b#c;", [("", "add_header", "A|b#c")]),
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
    found = NginxFiles.read().overrides()
    assert found == [Overrides(file, ["client_max_body_size", "gzip"])]
    assert nginx_files.without(text, found) == (
        text.replace("gzip\n      on;", f"# gzip: {file}\n").replace(
            "client_max_body_size 0;", f"# client_max_body_size: {file}"
        ),
        found,
    )


def test_a_file_that_includes_itself_is_read_once(folder: Path) -> None:
    (folder / "conf.d/a.conf").write_text("gzip on;\ninclude conf.d/*.conf;\n")
    assert NginxFiles.read().overrides()[0].names == ["gzip"]


def test_snippets_are_inlined_and_their_lines_are_known(folder: Path) -> None:
    (folder / "conf.d/.hidden.conf").write_text("hidden on;")
    (folder / "conf.d/a.conf").write_text("gzip on;\n\n")
    (folder / "conf.d/b.conf").write_bytes(b"add_header A 'caf\xe9';\r\n")
    (folder / "conf.d/half.conf").write_text("server {")
    (folder / "conf.d/missing.conf").symlink_to("nowhere")
    (folder / "location.d/c.conf").write_text("deny all; # nobody")
    locations = f"location / {{ include {folder}/location.d/*.conf; }}\n"
    text = f"http {{\n  include {folder}/conf.d/*.conf;\n  include mime.types;\n{locations * 2}}}\n"
    inlined, parts = NginxFiles.read().inline(text)
    assert nginx_files.encode(inlined).decode("latin-1") == (
        f"http {{\n  # {folder}/conf.d/a.conf\ngzip on;\n\n\n"
        f"# {folder}/conf.d/b.conf\nadd_header A 'caf\xe9';\r\n\n"
        f'include "{folder}/conf.d/half.conf";\ninclude "{folder}/conf.d/missing.conf";\n\n'
        "  include mime.types;\n"
        + f"location / {{ # {folder}/location.d/c.conf\ndeny all; # nobody\n }}\n" * 2
        + "}\n"
    )
    lines = inlined.splitlines()
    assert [(part.file.name, lines[part.first - 1]) for part in parts] == [
        ("a.conf", "gzip on;"),
        ("b.conf", "add_header A 'caf\udce9';"),
        ("c.conf", "deny all; # nobody"),
        ("c.conf", "deny all; # nobody"),
    ]


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("# a comment", True),
        ("gzip on; # a comment", True),
        ("set $a ${b}; add_header A '}';", True),
        ("gzip on", False),
        ("server {", False),
        ("} http {", False),
        ("add_header A 'b;", False),
        ("gzip on;\\", False),
    ],
)
def test_what_may_stand_inside_another_text(text: str, complete: bool) -> None:
    assert is_complete(text) is complete


def test_a_whole_configuration_is_adopted_line_by_line(folder: Path) -> None:
    text = (
        "user nginx;\ndaemon on; # a comment\npid\n  /var/run/nginx.pid;\nevents { }\n"
        "http\n{\n    proxy_temp_path /somewhere;\n    server { listen 80; }\n}\n"
    )
    nginx_files.WHOLE.write_text(text)
    adopted = NginxFiles.read().adopt(RUNTIME)
    assert adopted.count("\n") == text.count("\n")
    lines = adopted.splitlines()
    assert lines[0] == f"daemon off; pid {RUNTIME}/nginx.pid; "
    assert lines[1:4] == [" # a comment", "", ""]
    assert lines[5].startswith(f"http {{ client_body_temp_path {RUNTIME}/client_body_temp_path;")
    assert f"listen unix:{RUNTIME}/nginx.sock;" in lines[5]
    assert adopted.count("proxy_temp_path") == 1
    assert lines[7:] == text.splitlines()[7:]


def test_a_whole_configuration_that_can_not_be_read() -> None:
    with pytest.raises(SettingError, match=r"whole\.conf can't be read: No such file"):
        NginxFiles(File.read(nginx_files.WHOLE)).adopt(RUNTIME)


def test_an_edit_changes_only_what_is_read_later(folder: Path) -> None:
    file = folder / "conf.d/a.conf"
    file.write_text("include more.inc;")
    (folder / "more.inc").write_text("gzip on;")
    before, again = NginxFiles.read(), NginxFiles.read()
    (folder / "more.inc").write_text("tcp_nopush on;")
    assert before == again != NginxFiles.read()
    assert before.overrides()[0].names == ["gzip"]


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
    assert NginxFiles.read().addresses() == found


def test_where_included_files_listen(folder: Path) -> None:
    assert NginxFiles.read().addresses() is None
    nginx_files.WHOLE.write_text("http { include conf.d/*.conf; }")
    (folder / "conf.d/a.conf").write_text("server { listen 80; listen [::]:80; }\n")
    (folder / "conf.d/b.conf").write_text("server { listen 80; listen 8080; }\n")
    assert NginxFiles.read().addresses() == [("0.0.0.0", 80), ("::", 80), ("0.0.0.0", 8080)]


@pytest.mark.parametrize(
    ("name", "text", "own"),
    [
        ("conf.d", "uwsgi_cache_path /tmp/x keys_zone=x:1m;", True),
        ("server.d", "location /a { uwsgi_cache x; uwsgi_pass application; }", True),
        ("server.d", "location /a { proxy_cache x; }", True),
        ("conf.d", "open_file_cache off; # uwsgi_cache x;", False),
    ],
)
def test_a_cache_of_the_users(folder: Path, name: str, text: str, own: bool) -> None:
    (folder / name / "x.conf").write_text(text)
    assert NginxFiles.read().has_own_cache is own


def test_how_files_are_sent_is_the_users_to_say(folder: Path) -> None:
    assert not NginxFiles.read().opens_files
    (folder / "location.d/x.conf").write_text("sendfile on;")
    assert NginxFiles.read().opens_files


OURS = "uwsgi_param HTTP_X_FORWARDED_PROTO $scheme;"
TEMPLATE = """http {{
  uwsgi_param HTTP_HOST $http_host;
  {ours}
  include {folder}/conf.d/*.conf;
  server {{
    location / {{ include {folder}/location.d/*.conf; uwsgi_pass application; }}
    include {folder}/server.d/*.conf;
  }}
}}
"""


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("location.d", "uwsgi_param A b;", 2),
        ("server.d", "uwsgi_param A b;", 2),
        ("server.d", "include more.inc;", 2),
        ("server.d", "location /a { uwsgi_param A b; uwsgi_pass application; }", 2),
        ("server.d", "location /a { uwsgi_param A b; location /a/b { uwsgi_pass $to; } }", 2),
        ("conf.d", "server { uwsgi_param A b; location / { uwsgi_pass application; } }", 2),
        # These hide nothing from the application.
        ("conf.d", "uwsgi_param A b;", 1),
        ("server.d", "location /a { uwsgi_param A b; uwsgi_pass other:3031; }", 1),
    ],
)
def test_the_images_parameters_are_repeated_where_snippets_hide_them(
    folder: Path, name: str, text: str, count: int
) -> None:
    (folder / "more.inc").write_text("uwsgi_param A b; # a comment")
    (folder / name / "a.conf").write_text(f"# first\n{text}\n")
    inlined, parts = NginxFiles.read().inline(TEMPLATE.format(ours=OURS, folder=folder))
    assert inlined.count(OURS) == count
    assert is_complete(inlined)
    for part in parts:
        line = inlined.splitlines()[part.first - 1].replace(f"{OURS} ", "")
        line = line.replace("uwsgi_param HTTP_HOST $http_host; ", "")
        assert line in part.file.read_text().splitlines()[part.begin - 1]


def test_a_parameter_that_a_snippet_sets_is_the_users(folder: Path) -> None:
    (folder / "conf.d/a.conf").write_text("uwsgi_param HTTP_HOST example.com;")
    (folder / "location.d/a.conf").write_text("uwsgi_param HTTP_X_FORWARDED_PROTO https;")
    inlined, _ = NginxFiles.read().inline(TEMPLATE.format(ours=OURS, folder=folder))
    assert inlined.count("uwsgi_param HTTP_HOST") == inlined.count("example.com") == 1
    assert inlined.count(OURS) == 1
