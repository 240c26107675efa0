"""Werkzeug's debugger around the application: which exceptions become its page."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, create_environ

from docker_flask.debug import server, static_folder
from docker_flask.debug.debugger import Debugger, failing
from docker_flask.worker.find import find_app, load_errors
from tests.support import plans


def test_the_end_of_a_websocket_is_no_error() -> None:
    """Flask-SocketIO ends it by this exception, on which Werkzeug's server drops the connection."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        raise ConnectionError

    environ = create_environ("/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    environ["REMOTE_ADDR"] = "127.0.0.1"
    with pytest.raises(ConnectionError):
        list(Debugger(application, plans.make().settings)(environ, lambda *_: None))


@pytest.mark.parametrize(
    ("text", "frames", "shown"),
    [
        ("import shop_lib\n", 1, "docker-flask: shop_lib is not installed: add its package"),
        ("def f():\n    raise SystemExit(3)\nf()\n", 2, "RuntimeError: at import: SystemExit(3)"),
        ("def f(:\n", 0, "SyntaxError: invalid syntax"),
    ],
)
def test_the_page_of_an_error_at_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, frames: int, shown: str
) -> None:
    """It begins with the application's frames, has the hint of the log, and never grows."""
    (tmp_path / "app.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    with pytest.raises(BaseException, match=r".") as caught:
        find_app.load(tmp_path)
    assert caught.value.__traceback__
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # without this function
    load_errors.report(error)
    application = failing(error, plans.make().settings)
    for _ in range(3):
        environ = create_environ("/", environ_base={"REMOTE_ADDR": "127.0.0.1"})
        page = html.unescape(b"".join(application(environ, lambda *_: None)).decode())
        assert shown in page
        assert "\nThis page loads itself again after the next edit.\n" in page
        assert "docker_flask" not in page
        assert len(re.findall(r'id="frame-', page)) == frames


def test_a_wrong_app_module_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in production; it is no missing package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("APP_MODULE", "wrong:app")
    monkeypatch.setenv(find_app.IS_COMMAND, "")
    server.load(plans.make().settings)
    said = capsys.readouterr().err
    assert said.startswith("docker-flask: no WSGI callable by APP_MODULE='wrong:app': no module")
    assert said.endswith(f"in `{tmp_path}`; {find_app.HINT}\n")
    assert said.count("\n") == 1


# --- static files ----------------------------------------------------------------------------


def says_hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"application"]


FILES = ("index.html", "a/style.css", ".env", "a/.git/config", "server.key", "settings.ini", "x.gz")


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("GET /assets/a/style.css", "a/style.css"),
        ("HEAD /assets/a/style.css", ""),
        ("GET /", "index.html"),
        ("GET /assets/.env", None),
        ("GET /assets/a/.git/config", None),
        ("GET /assets/server.key/", None),
        ("GET /assets/../secret.txt", None),
        # The application's.
        ("GET /assets/settings.ini", "application"),
        ("GET /assets/x.gz", "application"),
        ("GET /assets/none.css", "application"),
        ("GET /assets/a", "application"),
        ("GET /assets/link.txt", "application"),
        ("POST /assets/a/style.css", "application"),
        ("GET /assetsx", "application"),
        ("GET /static/a/style.css", "application"),
    ],
)
def test_static_files_of_settings(tmp_path: Path, request_line: str, answer: str | None) -> None:
    folder = tmp_path / "public"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to("../secret.txt")
    settings = plans.make(STATIC_URL="/assets", STATIC_PATH=str(folder), STATIC_INDEX="1").settings
    method, path = request_line.split()
    application = static_folder.wrap(says_hello, settings)
    with Client(application).open(path, method=method) as response:
        assert response.status_code == (404 if answer is None else 200)
        assert answer in (None, response.get_data(as_text=True))


def test_static_files_without_settings() -> None:
    assert static_folder.wrap(says_hello, plans.make().settings) is says_hello
    assert static_folder.wrap(says_hello, plans.make(STATIC_URL="").settings) is says_hello
