"""The data: opened, its paths made absolute and its revisions pinned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.data.source import Source, open_source
from runner.hub.ids import as_path
from runner.language.document import Steps
from runner.language.recipe import Recipe

_PATHS = ("id", "metadata_file")


def open_data(recipe: Recipe, values: dict[str, Any], *, offline: bool) -> Source:
    """The source of a recipe's data, listed; its paths are made absolute and its revisions pinned in `values`."""
    for place, section in sections(values["data"]):
        for key in _PATHS:
            if section.get(key) is not None:
                section[key] = _absolute(recipe, (*place, key), section[key])
        if "revision" in section and not Path(section["id"]).is_absolute():
            from runner.data.repository import commit

            section["revision"] = commit(section["id"], section["revision"], offline=offline)
    return open_source(values["data"], offline=offline)


def sections(data: dict[str, Any]) -> Iterator[tuple[Steps, dict[str, Any]]]:
    """The sections that name places: the data itself, or each of its sources."""
    if "sources" not in data:
        yield ("data",), data
    for i, entry in enumerate(data.get("sources", ())):
        yield ("data", "sources", i), entry


def places(data: dict[str, Any]) -> Iterator[tuple[Steps, str]]:
    """Each path or id that the data names, with the steps to it."""
    for place, section in sections(data):
        yield from (((*place, key), section[key]) for key in _PATHS if section.get(key) is not None)


def _absolute(recipe: Recipe, place: Steps, written: str) -> str:
    """A path as an absolute one; a hub id as it is."""
    folder = recipe.folder_of(place)
    path = as_path(written, folder) if place[-1] == "id" else folder / Path(written).expanduser()
    return written if path is None else str(path)
