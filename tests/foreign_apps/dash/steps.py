"""Dash: a page of ours with its components, scripts and callbacks."""

from __future__ import annotations

import re
from typing import Any

from tests.support.foreign_apps import Application, Served

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


def write(served: Served) -> None:
    scripts = re.findall(r'<script src="(/[^"]+)"', served.get("/").text)
    assert len(scripts) > 3
    for script in scripts:
        assert "javascript" in served.get(script).headers["Content-Type"]
    assert "greeting" in served.get("/_dash-layout").text
    assert len(served.get("/_dash-dependencies").json()) == 2
    assert greeting(served) == "Hello Ada"


def upload(served: Served) -> None:
    contents = "data:text/plain;base64," + "dGVh" * 500_000
    assert call(served, "size.children", "file.contents", contents) == len(contents)


def check(served: Served) -> None:
    assert greeting(served) == "Hello Ada"
