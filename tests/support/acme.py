"""An authority that speaks ACME, for the tests: pebble, in a container of its own."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import certificates
from tests.support.harness import Engine

PROGRAM = shutil.which("pebble")
# An account that the authority knows already.
ACCOUNT, KEY = "account-1", "A" * 43


class Authority:
    """validity: seconds for which its certificates live; eab: accounts need EAB."""

    def __init__(
        self, engine: Engine, folder: Path, validity: int = 90 * 86400, eab: bool = False
    ) -> None:
        if not PROGRAM:
            pytest.skip("no pebble on this machine: tools/install pebble")
        name = f"docker-flask-test-{secrets.token_hex(4)}"
        certificates.write(folder / "authority", "pebble")
        certificates.ROOT.cert_pem.write_to_path(folder / "authority/root.pem")
        settings = {
            "listenAddress": "0.0.0.0:14000",
            "managementListenAddress": "0.0.0.0:15000",
            "certificate": "/certs/tls.crt",
            "privateKey": "/certs/tls.key",
            "httpPort": 80,
            "tlsPort": 443,
            "externalAccountBindingRequired": eab,
            "externalAccountMACKeys": {ACCOUNT: KEY} if eab else {},
            "certificateValidityPeriod": validity,
        }
        (folder / "authority/pebble.json").write_text(json.dumps({"pebble": settings}))
        self._engine = engine
        self._volumes = certificates.mounted(folder / "authority")
        self.network = engine.client.networks.create(name, labels=engine._labels)
        self.container = engine.run(
            ["-config", "/certs/pebble.json"],
            entrypoint="/usr/bin/pebble",
            env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            volumes={**self._volumes, PROGRAM: {"bind": "/usr/bin/pebble", "mode": "ro"}},
            ports={},
            **self._reached_by("pebble"),
        )
        self.container.wait_for_log("Listening on")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.remove_containers()
        self.network.remove()

    def options(
        self, *domains: str, reached: bool = True, env: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Options of `Engine.run` for a container with a certificate of this authority.

        reached: the authority finds the container by these names.
        """
        return {
            "env": {
                "TLS_DOMAIN": ",".join(domains),
                "ACME_DIRECTORY": "https://pebble:14000/dir",
                "ACME_CA": "/certs/root.pem",
                **(env or {}),
            },
            "volumes": self._volumes,
            "ports": certificates.PORTS,
            **self._reached_by(*domains if reached else ()),
        }

    def orders(self) -> int:
        """How many certificates have been ordered."""
        return self.container.logs().count("Added order")

    def _reached_by(self, *aliases: str) -> dict[str, Any]:
        endpoint = self._engine.client.api.create_endpoint_config(aliases=list(aliases))
        name = self.network.name
        return {"network": name, "networking_config": {name: endpoint}}
