"""The sample application under attack: what is uploaded is refused or harmless."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.pictures import png

APP = Path(__file__).parents[3] / "app/app.py"
SCRIPT = b"<script>alert(1)</script>"


def test_the_build_recognises_the_sample() -> None:
    """After a change of the sample: sha256sum app/app.py > app/.sample"""
    digest = hashlib.sha256(APP.read_bytes()).hexdigest()
    assert APP.with_name(".sample").read_text() == f"{digest}  app/app.py\n"


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    spec: Any = importlib.util.spec_from_file_location("sample", APP)
    # Flask looks for templates beside the file of this module.
    module = sys.modules["sample"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(sample: ModuleType, tmp_path: Path) -> Any:
    sample.app.config["UPLOAD_FOLDER"] = tmp_path / "uploads"
    return sample.app.test_client()


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def jpg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 2 + len(SCRIPT)) + SCRIPT
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 8, 8, height, width, 1)
    return b"\xff\xd8" + exif + frame + b"\xff\xd9"


def webp(kind: bytes, width: int, height: int) -> bytes:
    if kind == b"VP8X":
        sizes = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        sizes = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        sizes = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF\0\0\0\0WEBP" + kind + struct.pack("<I", len(sizes)) + sizes


def pictures(width: int, height: int) -> list[bytes]:
    kinds = (b"VP8 ", b"VP8L", b"VP8X")
    found = [make(width, height) for make in (png, gif, jpg)]
    return found + [webp(kind, width, height) for kind in kinds]


def upload(client: Any, data: bytes, name: str = "picture.png") -> Any:
    file = (io.BytesIO(data), name)
    return client.post("/gallery", data={"picture": file}, content_type="multipart/form-data")


def test_pictures_of_each_kind_and_their_bombs(client: Any, tmp_path: Path) -> None:
    for data in pictures(640, 480):
        assert upload(client, data).status_code == 303
    assert len(list((tmp_path / "uploads").iterdir())) == 6
    for data in pictures(10_000, 10_000):
        answer = upload(client, data)
        assert answer.status_code == 400
        assert "50 megapixels is the limit" in answer.text
    assert len(list((tmp_path / "uploads").iterdir())) == 6


@pytest.mark.parametrize(
    "data",
    [
        SCRIPT,
        b"RIFF0000WEBP",
        png(0, 5),
        b"<svg onload='alert(1)'/>",
        b"\xff\xd8\xff\xe0\0\0" * 1000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 100_000,
        jpg(5, 5)[:-9],
        b"PK\x03\x04" + png(5, 5),
        b"\xff\xd8\xff\xc0",
        b"RIFF0000WEBPVP8 ",
    ],
)
def test_what_is_no_picture(client: Any, tmp_path: Path, data: bytes) -> None:
    answer = upload(client, data)
    assert answer.status_code == 400
    assert "This file is not" in answer.text or "This picture is damaged" in answer.text
    assert not list((tmp_path / "uploads").glob("*"))


def test_polyglots_are_only_pictures(client: Any, tmp_path: Path) -> None:
    for data in pictures(5, 5):
        assert upload(client, data + b"*/=1;alert(1)/*" + SCRIPT, "x.html").status_code == 303
    for file in (tmp_path / "uploads").iterdir():
        answer = client.get(f"/images/{file.name}", buffered=True)
        assert answer.status_code == 200
        assert answer.mimetype.startswith("image/")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "x\0.png",
        "x.png\r\nX: 1",
        "a" * 5000,
        "<script>.png",
        ".htaccess",
        "x.php.png",
        "",
    ],
)
def test_names_mean_nothing(client: Any, tmp_path: Path, name: str) -> None:
    if upload(client, png(5, 5), name).status_code == 303:
        (file,) = tmp_path.rglob("*.*")
        assert file.parent == tmp_path / "uploads"
        assert file.name.replace("-", "").removesuffix(".png").isalnum()
    assert client.get(f"/images/{name}").status_code in (404, 308)
    named = {"name": f"{name}{SCRIPT.decode()}"}
    assert "<script" not in client.get("/", query_string=named).text
