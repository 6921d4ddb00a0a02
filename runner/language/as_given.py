"""What the paths of a settled recipe were as the recipe gave them, kept in its first comments.

A settled recipe holds absolute paths, and the pictures that it makes carry the paths as given. So that they are the
same pictures when it is run again by itself, it begins with a line for each path: `# as given: data.id: ./flowers`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from runner.language.document import Document, Steps
from runner.language.load import parse
from runner.language.view import steps
from runner.language.write import to_yaml

_PREFIX = "# as given: "


def comments(given: Mapping[Steps, str]) -> str:
    """A line for each path, by its place in the recipe."""
    if not given:
        return ""
    text = to_yaml({".".join(map(str, path)): written for path, written in given.items()}, header=False)
    return "".join(f"{_PREFIX}{line}\n" for line in text.splitlines())


def read(document: Document, values: Mapping[str, Any]) -> dict[Steps, str]:
    """The paths as they were given, of those that `values` holds still: a path that was changed since is left out."""
    lines = [line.removeprefix(_PREFIX) for line in document.source.lines if line.startswith(_PREFIX)]
    data = parse("\n".join(lines), "as given").data
    named = data.items() if isinstance(data, dict) else ()
    given = {steps(key): text for key, text in named}
    return {path: text for path, text in given.items() if _same(text, at(values, path))}


def meant(values: dict[str, Any], other: Document, theirs: dict[str, Any]) -> dict[str, Any]:
    """`values`, whose paths are those of the `other` recipe where they stand as they were given to that one."""
    values = copy.deepcopy(values)
    for path, written in read(other, theirs).items():
        if at(values, path) == written:
            put(values, path, at(theirs, path))
    return values


def at(values: Any, path: Steps) -> Any:
    """The value at a place of plain data; None where there is none."""
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def put(values: Any, path: Steps, value: Any) -> None:
    """Sets the value at a place that is there."""
    at(values, path[:-1])[path[-1]] = value


def _same(written: Any, place: Any) -> bool:
    """Whether a path as written can mean this absolute one: both end alike."""
    if not (isinstance(written, str) and isinstance(place, str) and PurePath(place).is_absolute()):
        return False
    names, whole = ([part for part in PurePath(text).parts if part != ".."] for text in (written, place))
    if written.startswith("~"):
        del names[0]
    return whole[len(whole) - len(names) :] == names
