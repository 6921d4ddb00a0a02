"""Where `schemas/` and `recipes/` lie: inside an installed wheel, or beside this package in a checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

_HERE = Path(__file__).resolve().parent
_DESCRIPTION = re.compile(r"^description:[ ]+(.+?)\s*$", re.MULTILINE)


def folder(name: Literal["schemas", "recipes"]) -> Path:
    """The folder of that name: `runner/shipped/<name>` where a wheel was installed, else the checkout's."""
    inside = _HERE / "shipped" / name
    return inside if inside.is_dir() else _HERE.parent / name


def recipes() -> list[tuple[str, str, Path]]:
    """The shipped recipes by name: (name, description, file)."""
    return [(path.stem, _description(path), path) for path in sorted(folder("recipes").glob("*.yaml"))]


def find(name: str) -> Path | None:
    """The file of a shipped recipe named without folder and ending, such as 'quickstart'."""
    return next((path for known, _, path in recipes() if known == name), None)


def _description(path: Path) -> str:
    """The line after 'description:'; no YAML reader, so that listing recipes stays quick."""
    found = _DESCRIPTION.search(path.read_text("utf-8"))
    return found[1].strip("\"'") if found else ""
