"""Certificates that a test writes, and what a server shows."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trustme import CA

from tests.support.harness import Container, wait_for

ROOT = CA()
NAME = "example.test"
# Options of `Engine.run`, by which HTTP and HTTPS are published.
PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (80, 443)}


def write(folder: Path, name: str = NAME, days: float = 90) -> bytes:
    """Write another `tls.crt`, with the root, and `tls.key`, as `cp` does; returns its DER."""
    folder.mkdir(mode=0o755, exist_ok=True)
    leaf = ROOT.issue_cert(name, not_after=datetime.now(UTC) + timedelta(days))
    pem = leaf.cert_chain_pems[0].bytes()
    chain = pem + ROOT.cert_pem.bytes()
    for file, content in (("tls.key", leaf.private_key_pem.bytes()), ("tls.crt", chain)):
        (folder / file).write_bytes(content)
        (folder / file).chmod(0o644)  # for the container's user
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def root_pin() -> str:
    """The hash of the root's key, for the option of Chromium that trusts who shows this key."""
    key = x509.load_pem_x509_certificate(ROOT.cert_pem.bytes()).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(info).digest()).decode()


def served(container: Container, name: str = NAME, inside: int = 443) -> bytes:
    """The certificate (DER) that HTTPS shows for a name; nothing if it refuses the handshake."""
    # Not by ssl.wrap_socket(), which leaks the socket of a connection that is reset meanwhile.
    address = f"127.0.0.1:{container.port(inside)}"
    words = ["openssl", "s_client", "-connect", address, "-servername", name]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5
        )
    except subprocess.TimeoutExpired:  # a busy machine, or an nginx that has just been killed
        return b""
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", done.stdout, re.S)
    return ssl.PEM_cert_to_DER_cert(found[0]) if found else b""


def wait_until_served(container: Container, new: bytes, seconds: float = 10, at: int = 443) -> None:
    """Wait for a certificate that write() has returned."""
    wait_for(lambda: served(container, inside=at) == new, seconds, "the new certificate")


def mounted(folder: Path) -> dict[str, dict[str, str]]:
    """The volume with which a container has the folder as /certs."""
    return {str(folder): {"bind": "/certs", "mode": "ro"}}
