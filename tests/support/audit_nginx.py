"""gixy's findings in the image's configurations of nginx: `python -m tests.support.audit_nginx`.

Renders the configuration for typical settings. The exit code is 1 if gixy finds something.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from docker_flask.plan import rendering
from docker_flask.plan.rendering import Listen
from docker_flask.shared.static_files import StaticFiles
from tests.support import plans

GIXY = Path(sys.executable).with_name("gixy")
DISK = 1 << 30
STATIC = StaticFiles("/static", "/app/static")
# Each with the environment of the container, and with what else the rendering gets.
RENDERED: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "as it is": ({}, {"static": STATIC, "sendfile": "/random"}),
    "bare": ({"ACCESS_LOG": "0"}, {}),
    "behind a proxy": (
        {"TRUSTED_PROXIES": "10.0.0.0/8", "STATIC_INDEX": "1", "ACCESS_LOG": "json"}
        | {"SCRIPT_NAME": "/shop", "RESPONSE_CACHE": "1m"},
        {"static": STATIC},
    ),
    "starting": ({}, {"starting": True}),
}


# Checks of gixy that say nothing about this configuration, each with its reason.
SKIPPED = {
    "add_header_redefinition": "the locations that set a header repeat what they need",
    "filesystem_root_exposure": "`alias /` is in an internal location with a random name",
    "hash_without_default": "nginx's default is the empty text, which these maps mean",
    "if_is_evil": "each `if` has one directive, and `return` follows it",
    "try_files_is_evil_too": "costs little; nginx may not remember files that can change",
}


def main() -> int:
    """Print gixy's findings; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (environ, more) in RENDERED.items():
            Path(folder, name).write_text(render(environ, more))
        files = [Path(folder, name) for name in RENDERED]
        options = ["--disable-includes", "--skips", ",".join(SKIPPED)]
        return subprocess.run([GIXY, *options, *files], check=False).returncode


def render(environ: dict[str, str], more: dict[str, Any]) -> str:
    """One of RENDERED. gixy can't read possessive quantifiers, which change no result."""
    parameters = {"sendfile": "", "static": None, **more}
    plan, listen = plans.make(plans.LIMITS, **environ), Listen(["0.0.0.0:80"], ["0.0.0.0:443"])
    text = rendering.render(plan, Path("/run/docker-flask"), listen, DISK, **parameters)
    return text.replace("*+", "*")


if __name__ == "__main__":
    sys.exit(main())
