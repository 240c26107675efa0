"""Certificates for the tests, by the program openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

from tests.support.harness import wait_for

NAME = "example.test"
READABLE = 0o644  # for the container's user
# Options of `Engine.run`, by which HTTP and HTTPS are published.
PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (80, 443)}


def make(folder: Path, names: tuple[str, ...] = (NAME,), days: int = 90) -> Path:
    """Write `tls.crt`, its own root, and `tls.key` into a new folder; days: below 0 for expired."""
    folder.mkdir(mode=0o755)
    chain, key = str(folder / "tls.crt"), str(folder / "tls.key")
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", key, "-out", chain, "-days", str(max(days, 1)), "-subj", f"/CN={names[0]}"),
        *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
    )
    if days < 0:
        openssl("x509", "-in", chain, "-signkey", key, "-days", str(days), "-out", chain)
    Path(key).chmod(READABLE)
    return folder


def openssl(*words: str) -> str:
    """What a command of openssl prints."""
    result = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def served(port: int, name: str = NAME) -> str:
    """The certificate that a server on 127.0.0.1 shows for a name, in PEM; "" if it refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as connection,
            context.wrap_socket(connection, server_hostname=name) as tls,
        ):
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")
    except (ssl.SSLError, ConnectionError):
        return ""


def wait_until_served(port: int, folder: Path, seconds: float) -> None:
    """Wait until the server shows the certificate of a folder that make() wrote."""
    wanted = (folder / "tls.crt").read_text()
    wait_for(lambda: served(port) == wanted, seconds, "the new certificate")


def mounted(folder: Path) -> dict[str, dict[str, str]]:
    """The volume with which a container has the folder as /certs."""
    return {str(folder): {"bind": "/certs", "mode": "ro"}}
