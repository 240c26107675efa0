"""The folder for sockets: unique to a container, of this user, no link."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_flask.shared import paths, runtime_folder
from docker_flask.shared.drop_privileges import NotPermitted


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Two shared places, and no folder of the image. Short paths: a socket's has 108 bytes."""
    with tempfile.TemporaryDirectory() as top:
        found = [Path(top) / name for name in ("first", "second")]
        for place in found:
            place.mkdir()
        monkeypatch.setattr(paths, "IMAGE_FOLDER", f"{top}/image")
        monkeypatch.setattr(paths, "PLACES", tuple(map(str, found)))
        yield found


def be_container(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setattr(paths, "container", lambda: ("boot", number))


def listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / paths.CONTROL_SOCKET))
    listener.listen()
    return listener


def test_containers_in_one_place_have_folders_of_their_own(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    be_container(monkeypatch, "1")
    with runtime_folder.open_folder() as first, listen(first):
        be_container(monkeypatch, "2")
        assert not paths.running()
        with runtime_folder.open_folder() as second:
            assert first.parent == second.parent == places[0]
            assert first != second
            assert (first / paths.CONTROL_SOCKET).exists()
            with listen(second):
                assert paths.running() == str(second)
        be_container(monkeypatch, "1")
        assert paths.running() == str(first)
    assert not list(places[0].iterdir()), "nothing is left in a place that others use"


def test_this_container_has_a_number_of_its_own() -> None:
    boot, number = paths.container()
    assert len(boot) == 6
    assert f"[{int(number, 16)}]" in os.readlink("/proc/self/ns/mnt")
    assert max(len(f"{folder}/static") for folder in paths.folders()) <= 46


def test_what_others_put_there_is_not_used(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    be_container(monkeypatch, "1")
    _, trap, good = map(Path, paths.folders())
    (places[1] / "kept").touch()
    trap.symlink_to(places[1])
    with runtime_folder.open_folder() as folder:
        assert folder == good
    assert (places[1] / "kept").exists()
    trap.unlink()
    trap.mkdir(mode=0o777)
    monkeypatch.setattr(os, "geteuid", lambda: trap.stat().st_uid + 1)
    with listen(trap):
        assert runtime_folder.running_server() is None
    with pytest.raises(NotPermitted, match="no folder of this user"), runtime_folder.open_folder():
        pass


def test_an_earlier_start_leaves_nothing(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    be_container(monkeypatch, "1")
    left = Path(paths.folders()[1])
    (left / "cache").mkdir(parents=True)
    (left / "cache" / "page").touch()
    (left / "link").symlink_to(places[1])
    left.chmod(0o755)
    with runtime_folder.open_folder() as folder:
        assert folder == left
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o777 == 0o700
    assert places[1].exists()


@pytest.mark.parametrize("state", ["lives", "killed", "killed just now"])
def test_what_a_killed_container_left_goes(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    be_container(monkeypatch, "1")
    other = places[0] / "docker-flask-boot-2"
    other.mkdir()
    server = listen(other)
    if state != "lives":
        server.close()
    if state != "killed just now":
        os.utime(other, (0, 0))
    with runtime_folder.open_folder():
        assert other.exists() == (state != "killed")
    server.close()


def test_a_folder_whose_server_lives_is_not_taken(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second mode in a container, or containers that share a volume at /run/docker-flask."""
    be_container(monkeypatch, "1")
    with runtime_folder.open_folder() as first, listen(first):
        with pytest.raises(NotPermitted, match="used by a server"), runtime_folder.open_folder():
            pass
        assert (first / paths.CONTROL_SOCKET).exists()
