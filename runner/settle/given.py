"""What a recipe names outside itself: opened from where it was written, and remembered as it was written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from runner.data.source import Source
from runner.errors import DataError
from runner.hub.ids import as_path
from runner.language.document import Steps, dotted
from runner.language.recipe import Recipe
from runner.models.files import Files, open_files
from runner.settle.pictures import open_data, places
from runner.shown import shown


class Given:
    """Opens ids and paths; `values` then holds absolute paths and pinned revisions.

    Args:
        recipe: knows what a relative path is relative to.
        values: the recipe's values, settled in place.
        offline: never ask the hub.
        allow_pickle: weights may come from pickles.
    """

    def __init__(self, recipe: Recipe, values: dict[str, Any], *, offline: bool, allow_pickle: bool) -> None:
        self.recipe, self.values = recipe, values
        self.offline, self.allow_pickle = offline, allow_pickle
        self._written: list[tuple[Steps, Any]] = []

    def data(self) -> Source:
        """The source of the `data` section."""
        self._written += places(self.values["data"])
        return open_data(self.recipe, self.values, offline=self.offline)

    def files(self, path: Steps, key: str = "id") -> Files:
        """The files that `key` of the section at `path` names; an id's revision and subfolder stand beside it."""
        section = _at(self.values, path)
        beside = section if key == "id" else {}
        files = open_files(
            section[key],
            base=self.recipe.folder_of((*path, key)),
            key=dotted((*path, key)),
            revision=beside.get("revision"),
            subfolder=beside.get("subfolder"),
            offline=self.offline,
        )
        if files.revision is not None and "revision" in beside:
            section["revision"] = files.revision
        local = as_path(section[key], self.recipe.folder_of((*path, key)))
        if local is not None:
            self._replace((*path, key), str(local))
        return files

    def find(self, path: Steps) -> Path:
        """The file that the text at `path` names.

        Raises:
            DataError: there is none.
        """
        written = _at(self.values, path)
        try:
            found = (self.recipe.folder_of(path) / Path(written).expanduser()).resolve()
            there = found.is_file()
        except (OSError, RuntimeError):  # a name that is too long, a circle of links, a ~user that is nobody
            found, there = Path(written), False
        if not there:
            raise DataError(f"{dotted(path)}: {shown(found)} is not there or no file: correct the path")
        return found

    def keep(self, path: Steps) -> None:
        """Makes the path at `path` absolute.

        Raises:
            DataError: there is no such file.
        """
        self._replace(path, str(self.find(path)))

    def portable(self) -> dict[str, Any]:
        """The values with every path as the recipe gives it."""
        portable = copy.deepcopy(self.values)
        for path, written in self._written:
            _at(portable, path[:-1])[path[-1]] = written
        return portable

    def _replace(self, path: Steps, value: Any) -> None:
        self._written.append((path, _at(self.values, path)))
        _at(self.values, path[:-1])[path[-1]] = value


def _at(values: Any, path: Steps) -> Any:
    for step in path:
        values = values[step]
    return values
