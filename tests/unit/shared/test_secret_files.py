"""Variables from files: NAME_FILE=/run/secrets/x."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docker_flask.shared import secret_files
from docker_flask.shared.setting_error import SettingError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /run/secrets, and an environment of its own."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setattr(secret_files, "FOLDERS", (f"{folder}/",))
    monkeypatch.setattr(os, "environ", {})
    return folder


def read(**variables: str | Path) -> dict[str, str]:
    os.environ.update({name: str(value) for name, value in variables.items()})
    secret_files.read()
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"key", "key"),
        (b"key\n", "key"),
        (b"key\r\n", "key"),
        (b" two\nlines \n", " two\nlines "),
        (b"", ""),
        (b"k\xff", "k\udcff"),
        (b"x" * 100_000, "x" * 100_000),
    ],
)
def test_a_file_sets_its_variable(folder: Path, content: bytes, value: str) -> None:
    file = folder / "key"
    file.write_bytes(content)
    after = read(KEY_FILE=file, KEY="")
    assert after == {"KEY": value, "KEY_FILE": str(file), secret_files.DONE: "KEY"}
    file.write_bytes(b"another")
    assert read() == after, "a child process keeps the value"


def test_other_variables_mean_paths(folder: Path) -> None:
    file = folder / "key"
    file.write_text("key")
    elsewhere = folder.parent / "key"
    elsewhere.write_text("key")
    given = {"LOG_FILE": str(elsewhere), "_FILE": str(file), "SSL_CERT_FILE": str(file)}
    assert read(**given, PATH_TO=file) == {**given, "PATH_TO": str(file)}


def test_what_no_variable_can_be(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * 100_001)
    (folder / "binary").write_bytes(b"x\0")
    (folder / "link").symlink_to("/etc/hostname")
    (folder.parent / "other").touch()
    os.mkfifo(folder / "pipe")
    refused = {
        "none": "No such file or directory",
        "large": "a variable holds 100,000 bytes at most",
        "binary": "it has NUL bytes, which no variable holds",
        "link": f"it is a link to /etc/hostname; use a file in {folder}/",
        "../other": f"it is a link to {folder.parent}/other; use a file in {folder}/",
        "pipe": "use a file",
        "": "Is a directory",
    }
    for name, reason in refused.items():
        with pytest.raises(SettingError) as error:
            read(KEY_FILE=f"{folder}/{name}")
        assert str(error.value).startswith(f"KEY_FILE={folder}/{name} can't be read: ")
        assert str(error.value).endswith(reason)
        assert error.value.code == 78


def test_both_are_refused(folder: Path) -> None:
    (folder / "key").write_text("of the file")
    with pytest.raises(SettingError, match=r"^KEY and KEY_FILE are both set; use one of them$"):
        read(KEY="of the variable", KEY_FILE=folder / "key")
