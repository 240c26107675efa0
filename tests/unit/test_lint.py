"""The checks of `make lint` that this repository adds to finished tools find what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import audit_nginx

BIN = Path(sys.executable).parent


def test_nginx_findings_are_excepted_by_their_directives() -> None:
    """An exception for one `alias /` does not cover another folder, nor another check."""
    finding = {
        "plugin": "filesystem_root_exposure",
        "reason": "maps requests to the file system",
        "config": "\nserver {\n\tlocation ^~ /files/ {\n\t\talias /;\n\t}\n}",
    }
    assert audit_nginx.excepted(finding)
    more = finding["config"].replace("alias /;", "alias /;\n\t\troot /etc;")
    assert not audit_nginx.excepted({**finding, "config": more})
    assert not audit_nginx.excepted({**finding, "plugin": "alias_traversal"})


def test_a_fault_of_nginx_is_excepted_by_its_number() -> None:
    finding = {
        "plugin": "nginx_cves",
        "reason": "CVE-2026-42934: Buffer overread",
        "config": "\ncharset utf-8;",
    }
    assert audit_nginx.excepted(finding)
    assert not audit_nginx.excepted({**finding, "reason": "CVE-2026-42945: Heap overflow"})


def test_what_gixy_finds_in_a_faulty_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alias without its slash, with which a client leaves the folder."""
    faulty = "events {} http { server { location /i { alias /srv/images/; } } }"
    monkeypatch.setattr(audit_nginx, "render", lambda *_: faulty)
    assert audit_nginx.main() == 1
    out = capsys.readouterr().out
    assert "nginx.conf, bare: alias_traversal: " in out
    assert "no finding needs the exception of if_is_evil" in out


def test_a_secret_is_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.cfg"
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    file.write_text(f"[aws]\nkey = {key}\n")
    hook = [str(BIN / "detect-secrets-hook"), "--no-verify", str(file)]
    found = subprocess.run(hook, capture_output=True, text=True, check=False)
    assert (found.returncode, "AWS Access Key" in found.stdout) == (1, True), found.stdout
