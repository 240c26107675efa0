"""Flask's instance folder: where root makes a link into the volume, and where it makes none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docker_flask.shared import instance_folder, paths

ME = os.geteuid(), os.getegid()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application's folder that its user can't write, which is the image's."""
    for folder in ("app", "data", "elsewhere"):
        (tmp_path / folder).mkdir()
    access = os.access

    def refuse(path: str, mode: int, **options: bool) -> bool:
        is_refused = os.path.abspath(path).startswith(str(tmp_path / "app"))
        return not is_refused and access(path, mode, **options)

    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.setattr(paths, "VOLUME", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "INSTANCE", str(tmp_path / "data/instance"))
    mount(monkeypatch, "/")
    monkeypatch.chdir(tmp_path / "app")
    Path("app.py").touch()
    return tmp_path / "app"


def mount(monkeypatch: pytest.MonkeyPatch, *points: object) -> None:
    rows = "".join(f"27 1 0:25 / {point} rw - ext4 /dev/x rw\n" for point in points)
    monkeypatch.setattr(paths, "read", lambda _: rows.encode())


def test_a_link_that_ls_shows(app: Path) -> None:
    instance_folder.prepare(ME)
    assert os.readlink("instance") == paths.INSTANCE
    assert os.stat("instance/.").st_mode & 0o777 == 0o755
    Path("instance/shop.db").touch()
    instance_folder.prepare(ME)  # the next start of the container
    assert os.listdir(paths.INSTANCE) == ["shop.db"]


def test_data_of_an_earlier_version_is_found(app: Path) -> None:
    os.mkdir(paths.INSTANCE, 0o700)
    Path(paths.INSTANCE, "shop.db").touch()
    instance_folder.prepare(ME)
    assert os.listdir("instance") == ["shop.db"]


def test_the_folder_src_has_a_link_of_its_own(app: Path) -> None:
    (app / "src/shop").mkdir(parents=True)
    instance_folder.prepare(ME)
    assert os.readlink("src/instance") == paths.INSTANCE


@pytest.mark.parametrize("why", ["in the image", "can write", "not root", "empty"])
def test_flasks_own_rule_counts(app: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "in the image":
        os.mkdir("instance")
    elif why == "empty":
        os.remove("app.py")
    elif why == "can write":
        monkeypatch.setattr(os, "access", lambda *_, **__: True)
    instance_folder.prepare(None if why == "not root" else ME)
    assert not os.path.islink("instance")
    assert not os.path.exists(paths.INSTANCE)


@pytest.mark.parametrize(
    ("points", "is_mounted"),
    [
        (["/", "APP"], True),
        (["/", "TOP"], True),
        (["/", "APP/static", "APP-2", "/proc"], False),
        ([], True),  # the kernel does not say
    ],
)
def test_nothing_is_made_in_a_folder_of_the_host(
    app: Path, monkeypatch: pytest.MonkeyPatch, points: list[str], is_mounted: bool
) -> None:
    names = (point.replace("APP", str(app)).replace("TOP", str(app.parent)) for point in points)
    mount(monkeypatch, *names)
    instance_folder.prepare(ME)
    assert os.path.lexists("instance") != is_mounted


def test_the_name_of_a_mount_may_have_a_space(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (app / "my shop/shop").mkdir(parents=True)
    monkeypatch.chdir(app / "my shop")
    mount(monkeypatch, "/", f"{app}/my\\040shop")
    instance_folder.prepare(ME)
    assert not os.path.lexists("instance")


@pytest.mark.parametrize("planted", ["link", "writable", "foreign", "replaced"])
def test_a_folder_that_others_can_write_is_not_used(app: Path, planted: str) -> None:
    instance = Path(paths.INSTANCE)
    if planted == "link":
        instance.symlink_to("../elsewhere")
    else:
        instance.mkdir()
        if planted == "replaced":
            instance.parent.chmod(0o777)
        elif planted == "writable":
            instance.chmod(0o775)
        else:
            os.chown(instance, 12345, 12345)
    instance_folder.prepare(ME)
    assert not os.path.lexists("instance")
    assert instance_folder.is_foreign(ME[0]) == (planted != "replaced")


@pytest.mark.parametrize("user", [ME, None], ids=["root", "--user"])
def test_a_link_of_the_image_leads_to_a_folder(app: Path, user: tuple[int, int] | None) -> None:
    """`os.makedirs` fails at a link that leads nowhere."""
    os.symlink(paths.INSTANCE, "instance")
    instance_folder.prepare(user)
    os.makedirs("instance", exist_ok=True)
    assert os.path.isdir(paths.INSTANCE)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_the_later_user_makes_the_folder(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    monkeypatch.setattr(paths, "VOLUME", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "INSTANCE", str(tmp_path / "data/instance"))
    mount(monkeypatch, "/")
    monkeypatch.chdir(app)
    app.chmod(0o775)  # the group is root's, which the later user does not have
    before = os.getgroups()
    os.setgroups([0])
    (tmp_path / "data").chmod(0o755)
    instance_folder.prepare((12345, 12346))
    assert not os.path.lexists("instance"), "the volume can't be written"
    (tmp_path / "data").chmod(0o1777)
    instance_folder.prepare((12345, 12346))
    status = os.stat("instance/.")
    assert (status.st_uid, status.st_gid) == (12345, 12346)
    groups = os.getgroups()
    os.setgroups(before)
    assert (os.geteuid(), os.getegid(), groups) == (0, 0, [0])
