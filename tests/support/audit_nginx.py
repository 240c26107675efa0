"""gixy's findings in the image's configurations of nginx: `python -m tests.support.audit_nginx`.

Renders the configuration for typical settings. Prints each finding that EXCEPTIONS does not name,
and each exception that no finding needs; then the exit code is 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from docker_flask.nginx import configuration
from docker_flask.nginx.configuration import Site
from docker_flask.static_files import StaticFiles
from tests.support import plans

ROOT = Path(__file__).parents[2]
# Ubuntu 24.04's. A distribution mends faults without a new version number, so gixy reports each
# known fault of nginx whose pattern the configuration has.
NGINX_VERSION = "1.24.0"
GIXY = Path(sys.executable).with_name("gixy")
MEGABYTE = 1 << 20
STATIC = StaticFiles("/static", "/app/static")
# Each with the environment of the container, and with fields of Site.
RENDERED: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "as it is": ({}, {"static": STATIC, "cache_size": MEGABYTE, "sendfile_location": "/random"}),
    "bare": ({"ACCESS_LOG": "0"}, {}),
    "behind a proxy": (
        {"TRUSTED_PROXIES": "10.0.0.0/8", "STATIC_INDEX": "1", "ACCESS_LOG": "json"},
        {"static": STATIC, "cache_size": MEGABYTE},
    ),
    "starting": ({}, {}),
}


class Excepted(NamedTuple):
    """Findings that are none: of one check, if all directives in the finding match `directives`."""

    check: str
    directives: str
    why: str


EXCEPTIONS = (
    Excepted(
        "add_header_redefinition",
        r"add_header (Retry-After \$error_retry always|X-Request-ID|Cache-Control|X-Cache-Status"
        r"|[\w-]+ \$upstream_http_\w+).*",
        "error pages need no other header; the location for files repeats what it needs",
    ),
    Excepted(
        "filesystem_root_exposure",
        "alias /;",
        "the location is internal and has a random name: only the application names a file in it",
    ),
    Excepted(
        "if_is_evil",
        "error_page 418 = @(sharing|draining|websocket);",
        "the next directive in the `if` is `return 418`, so the `if` does nothing else",
    ),
    Excepted(
        "try_files_is_evil_too",
        r"try_files \$static_file @application;",
        "costs little; nginx may not remember files that can change",
    ),
    Excepted(
        "nginx_cves: CVE-2026-9256",
        r"server unix:.*",
        "gixy does not look for the pattern, captures of a `rewrite`; no `rewrite` here has any",
    ),
    Excepted(
        "nginx_cves: CVE-2026-42946",
        r"uwsgi_pass (application|nobody);",
        "the packages of the distribution have the fix; only a worker can send the response",
    ),
    Excepted(
        "nginx_cves: CVE-2026-42934",
        "charset utf-8;",
        "the pattern needs a conversion between two charsets, and there is none",
    ),
    Excepted(
        "nginx_cves: CVE-2026-48142",
        "charset utf-8;",
        "the same",
    ),
)


def main() -> int:
    """Print what is wrong; returns the exit code."""
    unused = set(EXCEPTIONS)
    failed = False
    for finding in findings():
        exception = excepted(finding)
        if exception:
            unused.discard(exception)
            continue
        failed = True
        print(f"nginx.conf, {finding['path']}: {check_of(finding)}: {finding['summary']}")
        print(f"{finding['reason']}{finding['config']}\n")
    for exception in sorted(unused):
        failed = True
        print(f"no finding needs the exception of {exception.check}")
    return int(failed)


def findings() -> list[dict[str, str]]:
    """What gixy finds in all configurations; `path` is the name of one of RENDERED."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (environ, site) in RENDERED.items():
            Path(folder, name).write_text(render(name == "starting", environ, site))
        result = subprocess.run(
            [
                *(GIXY, "-f", "json", "--disable-includes", "--nginx-version", NGINX_VERSION),
                *(Path(folder, name) for name in RENDERED),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if not result.stdout.startswith("["):
        raise SystemExit(f"gixy fails:\n{result.stderr}")
    return [
        {**finding, "path": Path(finding["path"]).name} for finding in json.loads(result.stdout)
    ]


def render(starting: bool, environ: dict[str, str], site: dict[str, Any]) -> str:
    """One of RENDERED. gixy can't read possessive quantifiers, which change no result."""
    where = Site(Path("/run/docker-flask"), ["0.0.0.0:80", "[::]:80"], **site)
    text = configuration.render(plans.make(plans.LIMITS, **environ), where, starting, ROOT)
    return text.replace("*+", "*")


def excepted(finding: dict[str, str]) -> Excepted | None:
    """The exception that covers a finding."""
    lines = [line.strip() for line in finding["config"].splitlines() if line.endswith(";")]
    for exception in EXCEPTIONS:
        if exception.check == check_of(finding) and all(
            re.fullmatch(exception.directives, line) for line in lines
        ):
            return exception
    return None


def check_of(finding: dict[str, str]) -> str:
    """The name of gixy's check, with the fault of nginx that it is about."""
    fault = re.match(r"CVE-[\d-]+", finding["reason"])
    return f"{finding['plugin']}: {fault[0]}" if fault else finding["plugin"]


if __name__ == "__main__":
    sys.exit(main())
