"""A root that only the tests trust, and certificates that it has issued."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from trustme import CA

NAMES = ("shop.example", "localhost", "127.0.0.1")


def issue(parent: Path, *names: str) -> tuple[CA, dict[str, Any]]:
    """Write a chain, its key and `root.pem` into a folder; returns what Engine.run needs."""
    root, folder = CA(), parent / "certs"
    folder.mkdir(mode=0o755)
    now, day = datetime.now(UTC), timedelta(days=1)  # 90 days, as Let's Encrypt does
    leaf = root.create_child_ca().issue_cert(
        *(names or NAMES), not_before=now - day, not_after=now + 89 * day
    )
    for pem in leaf.cert_chain_pems:
        pem.write_to_path(folder / "tls.crt", append=True)
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    root.cert_pem.write_to_path(folder / "root.pem")
    for path in folder.iterdir():
        path.chmod(0o644)
    volumes = {str(folder): {"bind": "/certs", "mode": "ro"}}
    return root, {"env": {"TLS_CERTIFICATE": "/certs"}, "volumes": volumes}


def trusting(root: CA, *protocols: str) -> ssl.SSLContext:
    """For a client that trusts this root, and nobody else; protocols: of ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    root.configure_trust(context)
    context.set_alpn_protocols(protocols)
    return context
