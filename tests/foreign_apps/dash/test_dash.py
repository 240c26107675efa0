"""Dash: a page of ours with its components, scripts and callbacks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.foreign_apps import Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application("dash", edited="/app/app.py")


def call(served: Served, output: str, changed: str, value: str) -> Any:
    """Do what the page does when a component has changed; returns the new value of the output."""
    name, field = changed.split(".")
    body = {
        "output": output,
        "outputs": dict(zip(("id", "property"), output.split("."), strict=True)),
        "inputs": [{"id": name, "property": field, "value": value}],
        "changedPropIds": [changed],
    }
    name, field = output.split(".")
    answer = served.post("/_dash-update-component", json=body).json()
    return answer["response"][name][field]


def greeting(served: Served) -> Any:
    """What the page says."""
    return call(served, "greeting.children", "name.value", "Ada")


def test_dash(served: Served) -> None:
    with served.step("start"):
        page = served.start()
        scripts = re.findall(r'<script src="(/[^"]+)"', page.text)
        assert len(scripts) > 3
        for script in scripts:
            assert "javascript" in served.get(script).headers["Content-Type"]
        assert "greeting" in served.get("/_dash-layout").text
        assert len(served.get("/_dash-dependencies").json()) == 2
    with served.step("write"):
        assert greeting(served) == "Hello Ada"
    with served.step("upload"):
        contents = "data:text/plain;base64," + "dGVh" * 500_000
        assert call(served, "size.children", "file.contents", contents) == len(contents)
    with served.step("reload"):
        served.reload()
        assert greeting(served) == "Hello Ada"
    with served.step("stop"):
        served.replace()
        assert greeting(served) == "Hello Ada"
        served.stop()
