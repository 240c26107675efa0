"""The checks of `make lint` that this repository adds to finished tools find what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import audit_nginx

BIN = Path(sys.executable).parent


def test_what_gixy_finds_in_a_faulty_part(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An alias without its slash, with which a client leaves the folder."""
    faulty = "events {} http { server { location /i { alias /srv/images/; } } }"
    monkeypatch.setattr(audit_nginx, "render", lambda *_: faulty)
    assert audit_nginx.main() == 1
    assert "alias_traversal" in capfd.readouterr().out


def test_a_secret_is_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.cfg"
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    file.write_text(f"[aws]\nkey = {key}\n")
    hook = [str(BIN / "detect-secrets-hook"), "--no-verify", str(file)]
    found = subprocess.run(hook, capture_output=True, text=True, check=False)
    assert (found.returncode, "AWS Access Key" in found.stdout) == (1, True), found.stdout
