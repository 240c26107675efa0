"""install-python.sh, without an engine: which file names the packages, and what pip gets."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docker_flask" / "install-python.sh"
# Stand in for pip and for the Python that runs the tools.
PIP = """#!/bin/bash
[[ $1 == install ]] || exit 1
echo "pip $*" >> "$CALLS"
while [[ $# -gt 0 && $1 != -r ]]; do shift; done
[[ $# -eq 0 ]] || cat "$2" >> "$INSTALLED"
[[ ! -e $CALLS.fail ]] || { echo "ERROR: the reason" >&2; exit 1; }
"""
PYTHON = """#!/bin/bash
echo "python3 $*" >> "$CALLS"
echo "PYTHONPATH $PYTHONPATH"  >> "$CALLS"
echo "six==1.16.0 --hash=sha256:00"
"""
LOCK = "# sha256 of requirements.txt: {}\nflask==3.0 --hash=sha256:00\n"


class Script:
    """The script with a folder of an application, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.app, self.calls = folder / "app", folder / "calls"
        self.installed, programs = folder / "installed", folder / "bin"
        for made in (self.app, programs):
            made.mkdir()
        for name, text in (("pip", PIP), ("python3", PYTHON)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "INSTALLED": str(self.installed),
            "CA_BUNDLE": str(folder / "none"),
            "TMPDIR": str(folder),
        }
        self.before = set(folder.iterdir())

    def write(self, **files: str) -> None:
        """Files of the application: NAME_ENDING=text."""
        for name, text in files.items():
            (self.app / name.replace("_", ".")).write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *(arguments or [str(self.app)])],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def install(self) -> tuple[str, str]:
        """Install the application's packages: what pip read, and what the script said."""
        result = self.run()
        assert result.returncode == 0, result.stderr
        left = set(self.app.parent.iterdir()) - self.before - {self.calls, self.installed}
        assert not left
        return self.installed.read_text(), result.stderr

    def export(self) -> str:
        """The packages as a requirements file; pip installs none of them."""
        result = self.run("--export", str(self.app))
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.mark.parametrize(
    ("text", "exported"),
    [
        ("six\n", "six\n"),
        # uWSGI is the image's own.
        ("flask\nuwsgi==2.0.20\nsix\n", "flask\nsix\n"),
        ("uwsgi>=2 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nsix\n", "six\n"),
        ("uwsgi-tools\nuwsgitop\nuwsgi_x\n", "uwsgi-tools\nuwsgitop\nuwsgi_x\n"),
        # Included files are found.
        (
            "-r base.txt\n-c /etc/c.txt\n-r https://x/y\n./package\n",
            "-r {app}/base.txt\n-c /etc/c.txt\n-r https://x/y\n./package\n",
        ),
    ],
)
def test_requirements(script: Script, text: str, exported: str) -> None:
    script.write(requirements_txt=text)
    assert script.export() == exported.format(app=script.app)


@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8-sig", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n")]
)
def test_requirements_from_windows(script: Script, encoding: str, end: str) -> None:
    lines = ["-r base.txt", "uwsgi==2.0.28", "six # \xe9", ""]
    (script.app / "requirements.txt").write_bytes(end.join(lines).encode(encoding))
    assert script.export().splitlines() == [f"-r {script.app}/base.txt", "six # \xe9"]


def test_requirements_that_are_no_text_go_to_pip(script: Script) -> None:
    (script.app / "requirements.txt").write_bytes(b"six # \xe9\n")
    script.run()
    assert script.installed.read_bytes() == b"six # \xe9\n"


@pytest.mark.parametrize(
    ("requirements", "installed", "said"),
    [
        ("flask\n", "requirements.lock", "installing the packages of {app}/requirements.lock"),
        ("flask\nsix\n", "requirements.txt", '"make lock": requirements.lock is ignored'),
    ],
)
def test_a_lock_of_requirements(
    script: Script, requirements: str, installed: str, said: str
) -> None:
    lock = LOCK.format(sha256(b"flask\n").hexdigest())
    script.write(requirements_txt=requirements, requirements_lock=lock)
    found, log = script.install()
    assert found == (script.app / installed).read_text()
    assert said.format(app=script.app) in log


@pytest.mark.parametrize(
    ("name", "package", "export", "with_index", "without"),
    [
        ("uv_lock", "uv==", "uv export --frozen --no-dev", "--emit-index-url", ""),
        ("poetry_lock", "poetry-plugin-export==", "poetry export", "", "--without-urls"),
        ("Pipfile_lock", "pipenv==", "pipenv requirements --hash", "", "--exclude-index"),
    ],
)
def test_the_lock_file_of_a_tool(
    script: Script, name: str, package: str, export: str, with_index: str, without: str
) -> None:
    """An index of the build replaces that of the lock file."""
    script.write(**{"requirements_txt": "flask\n", name: "locked"})
    installed, said = script.install()
    assert installed.splitlines()[1:] == ["six==1.16.0 --hash=sha256:00"]
    file = name.replace("_", ".")
    assert said.splitlines() == [
        f"docker-flask: requirements.txt is ignored, because {file} names the packages",
        f"docker-flask: installing the packages of {script.app}/{file}",
    ]
    tool, by_lock, path, pip = script.calls.read_text().splitlines()
    assert f" {package}" in tool
    assert "--no-deps" not in tool
    assert pip.endswith(" --no-deps")
    assert path == f"PYTHONPATH {tool.partition(' --target ')[2].split()[0]}"
    script.calls.unlink()
    script.environment["PIP_INDEX_URL"] = "https://index.example/simple"
    script.export()
    by_build = script.calls.read_text().splitlines()[1]
    for command, wanted, unwanted in (
        (by_lock, with_index, without),
        (by_build, without, with_index),
    ):
        assert f"-P -m {export}" in command, "no module of the application's folder"
        assert wanted in command
        assert not unwanted or unwanted not in command


@pytest.mark.parametrize("name", ["uv_lock", "requirements_txt"])
def test_only_what_is_locked_is_installed_without_resolving(script: Script, name: str) -> None:
    """Also in the Dockerfile, where one stage exports the packages and another installs them."""
    script.write(**{name: "six\n"})
    exported = script.app.parent / "exported.txt"
    exported.write_text(script.export())
    script.calls.unlink(missing_ok=True)
    assert script.run(str(exported), "--target", "x").returncode == 0
    assert ("--no-deps" in script.calls.read_text()) == (name == "uv_lock")


def test_no_lock_file_or_two(script: Script) -> None:
    result = script.run()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    script.write(uv_lock="", Pipfile_lock="", requirements_txt="")
    result = script.run()
    assert result.returncode == 78
    assert result.stderr == (
        f"docker-flask: uv.lock Pipfile.lock: lock files of several tools are in {script.app}; "
        "keep one of them\n"
    )


OWN = "".join(
    f"{name}==1 \\\n    --hash=sha256:00\n    # via -r requirements.txt\n"
    for name in ("gunicorn", "packaging", "uwsgi", "werkzeug")
)


@pytest.mark.parametrize(
    ("server", "absent", "hint"),
    [
        ("uwsgi", "gunicorn", "without uWSGI: --build-arg APP_SERVER=gunicorn"),
        ("gunicorn", "uwsgi", ""),
    ],
)
def test_own_packages_have_one_server(script: Script, server: str, absent: str, hint: str) -> None:
    lock = script.app / "own.lock"
    lock.write_text(OWN)
    assert script.run("--own", server, str(lock), "--prefix", "/x").returncode == 0
    assert "--prefix /x" in script.calls.read_text()
    names = {line.partition("==")[0] for line in script.installed.read_text().splitlines()[::3]}
    assert names == {"gunicorn", "packaging", "uwsgi", "werkzeug"} - {absent}
    (script.calls.parent / "calls.fail").touch()
    failed = script.run("--own", server, str(lock))
    assert failed.returncode == 1
    assert hint in failed.stderr.splitlines()[-1]


def test_a_server_that_no_image_has(script: Script) -> None:
    result = script.run("--own", "waitress", "/none")
    words = "--build-arg APP_SERVER=waitress is not allowed; use uwsgi or gunicorn"
    assert (result.returncode, result.stderr) == (78, f"docker-flask: {words}\n")


@pytest.mark.parametrize("name", ["requirements_txt", "poetry_lock"])
def test_the_last_line_is_pips(script: Script, name: str) -> None:
    script.write(**{name: "six\n"})
    (script.calls.parent / "calls.fail").touch()
    result = script.run()
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "ERROR: the reason"
