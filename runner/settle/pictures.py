"""The data: opened, its path made absolute and its revision pinned."""

from __future__ import annotations

from typing import Any

from runner.data.source import Source, open_source
from runner.hub.ids import as_path
from runner.language.recipe import Recipe


def open_data(recipe: Recipe, values: dict[str, Any], *, offline: bool) -> Source:
    """The source of a recipe's data, listed; its path is made absolute and its revision pinned in `values`."""
    data = values["data"]
    if "id" in data:
        path = as_path(data["id"], recipe.folder_of(("data", "id")))
        if path is not None:
            data["id"] = str(path)
    if data.get("revision", "") is None and not _is_path(data["id"]):
        from runner.data.repository import commit

        data["revision"] = commit(data["id"], None, offline=offline)
    return open_source(data, offline=offline)


def _is_path(identifier: str) -> bool:
    return identifier.startswith("/") or identifier[1:3] in (":\\", ":/")
