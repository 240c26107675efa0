"""Leaving root: who becomes whom, and what a kernel that does not help gets for an answer."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.plan import settings
from docker_flask.shared import drop_privileges, paths
from docker_flask.shared.drop_privileges import NotPermitted

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to leave root")


@pytest.mark.parametrize("word", ["1", "on", "true", "yes", "YES", "0", "off", "", "perhaps", " 1"])
def test_who_stays_root(word: str) -> None:
    """No word keeps root that the settings refuse."""
    stays = drop_privileges.stays_root(word)
    assert stays == (word.lower() in ("1", "on", "true", "yes"))
    if stays:
        assert settings.read({"RUN_AS_ROOT": word})["run_as_root"].value is True


@pytest.mark.parametrize(
    ("fails", "words"), [("prctl", "can't set no_new_privs"), ("capset", "can't give up capab")]
)
def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch, fails: str, words: str) -> None:
    monkeypatch.setattr(drop_privileges, "_call", lambda name, *_: name != fails)
    monkeypatch.setenv("RUN_AS_ROOT", "1")
    with pytest.raises(NotPermitted, match=words):
        drop_privileges.drop("service")


@needs_root
def test_whose_folder_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert drop_privileges.owner() == drop_privileges.service_user()
    os.chown(tmp_path, 12345, 0)
    assert drop_privileges.owner() == (12345, 12345), "never root's group"
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.lchown(link, 12345, 12345)
    assert drop_privileges._owner_of(str(link)) is None
    assert drop_privileges._owner_of("/no/such/folder") is None


@pytest.mark.parametrize(
    ("home", "volume", "chosen"),
    [
        (0o755, 0o777, "home"),
        (0o777, 0o755, "volume/home"),
        (None, 0o1777, "volume/home"),
        (None, 0o775, "volume/home"),
        (None, 0o777, ""),
    ],
)
def test_home_is_no_folder_that_everybody_can_write_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: int | None, volume: int, chosen: str
) -> None:
    """Nor one that everybody can replace."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(volume)
    if home is not None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home").chmod(home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(drop_privileges, "VOLUME", str(tmp_path / "volume"))
    drop_privileges.name_user()
    if not chosen:
        assert os.environ["HOME"].startswith("/tmp/docker-flask-home-")
        os.rmdir(os.environ["HOME"])
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("HOME", "/nonexistent")
        drop_privileges.name_user()
    assert os.environ["HOME"] == str(tmp_path / (chosen or "volume/home"))


def test_home_is_a_new_folder_if_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/tmp")
    monkeypatch.setattr(drop_privileges, "VOLUME", "/no/such/folder")
    drop_privileges.name_user()
    home = Path(os.environ["HOME"])
    assert (home.stat().st_mode & 0o777, home.owner()) == (0o700, "root")
    home.rmdir()
    home.symlink_to("/tmp")  # planted
    try:
        drop_privileges.name_user()
    finally:
        home.unlink()
    assert os.environ["HOME"] == "/nonexistent"


def status(uid: int, gid: int) -> bytes:
    rows = (f"{name}:" + f"\t{number}" * 4 for name, number in (("Uid", uid), ("Gid", gid)))
    return "\n".join(("Name:\tx", *rows, "")).encode()


@pytest.mark.parametrize(
    ("sessions", "files", "user"),
    [
        ((7, 1), {"/proc/1/status": status(33, 33)}, (33, 33)),
        ((7, 1), {"/proc/1/status": status(12345, 0)}, (12345, 12345)),
        ((7, 1), {"/proc/1/status": status(0, 0), "/proc/6/status": status(33, 33)}, (33, 33)),
        (
            (7, 1),
            {
                "/proc/1/status": status(9, 9),
                "/proc/6/status": status(33, 33),
                "/proc/6/cmdline": b"python3\0-m\0docker_flask\0serve",
            },
            (33, 33),
        ),
        ((0, 0), {"/proc/1/status": status(33, 33)}, (33, 33)),
        (
            (7, 1),
            {
                "/proc/1/status": status(0, 0),
                "/proc/1/cmdline": b"/bin/bash\0/opt/docker-flask/entry-point.sh\0",
            },
            drop_privileges.service_user(),
        ),
        (
            (7, 1),
            {
                "/proc/1/status": status(0, 0),
                "/proc/1/cmdline": b"/sbin/docker-init\0--\0/opt/docker-flask/entry-point.sh\0bash",
            },
            None,
        ),
        ((7, 1), {"/proc/1/status": status(0, 0)}, None),
        ((1, 1), {"/proc/1/status": status(0, 0), "/proc/6/status": status(33, 33)}, None),
        ((7, 1), {"/proc/6/status": status(33, 33), "/proc/6/cgroup": b"another"}, None),
    ],
    ids=[
        "process 1",
        "root's group",
        "--init",
        "the image's first",
        "sessions of other namespaces",
        "a start",
        "a command under --init",
        "a command of root's",
        "started by process 1",
        "another container's",
    ],
)
def test_whose_container_it_is(
    monkeypatch: pytest.MonkeyPatch,
    sessions: tuple[int, int],
    files: dict[str, bytes],
    user: tuple[int, int] | None,
) -> None:
    monkeypatch.setattr(drop_privileges, "is_build", lambda: False)
    monkeypatch.setattr(os, "getsid", lambda pid: sessions[pid])
    monkeypatch.setattr(os, "listdir", lambda _: ["1", "6", "self"])
    monkeypatch.setattr(paths, "read", lambda path: files.get(path, b""))
    assert drop_privileges.of_container() == user


@needs_root
@pytest.mark.parametrize(
    ("host", "mark", "owner", "builds"),
    [
        ("buildkitsandbox", None, 0, True),
        ("x", '\nengine="buildah-1.28.2"\n', 0, True),
        ("x", '\nengine="buildah-1.28.2"\n', 33, False),
        ("x", 'engine="podman-5.4.2"', 0, False),
        ("x", None, 0, False),
    ],
)
def test_what_is_a_build(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    mark: str | None,
    owner: int,
    builds: bool,
) -> None:
    file = tmp_path / ".containerenv"
    if mark is not None:
        file.write_text(mark)
        os.chown(file, owner, owner)
    monkeypatch.setattr(drop_privileges, "BUILDAH_MARK", str(file))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=host))
    assert drop_privileges.is_build() is builds
