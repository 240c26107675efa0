"""docs/applications.md says of each application what it needed."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.foreign_apps import FOLDER
from tests.support.harness import ROOT

PAGE = (ROOT / "docs" / "applications.md").read_text()
APPLICATIONS = sorted(path.parent for path in FOLDER.glob("*/Dockerfile"))
README = (ROOT / "README.md").read_text()
RECIPE = "".join(re.findall(r"```dockerfile\n(.*?)```", README, re.DOTALL))


def row(application: Path) -> list[str]:
    """The cells of an application's row: version, what it needed."""
    (line,) = [
        line for line in PAGE.splitlines() if f"(../tests/foreign_apps/{application.name})" in line
    ]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda path: path.name)
def test_a_row_says_what_its_application_needed(application: Path) -> None:
    version, needed = row(application)
    pin = (application / "requirements.txt").read_text().split()[0]
    assert version == pin.replace("==", " ")
    (test,) = (*application.glob("steps.py"), *application.glob("test_*.py"))
    module = import_module(f"tests.foreign_apps.{application.name}.{test.stem}")
    lines = (application / "Dockerfile").read_text().splitlines()
    more = [line for line in lines if line not in RECIPE.splitlines()]
    for line in more:
        assert f"`{line}`" in needed or f"\n{line}\n" in PAGE, f"{application.name} needs {line}"
    for variable in module.APPLICATION.env:
        assert f"`{variable}" in needed, f"{application.name} needs {variable}"


def test_no_row_is_of_an_application_that_is_gone() -> None:
    assert PAGE.count("(../tests/foreign_apps/") == len(APPLICATIONS)
