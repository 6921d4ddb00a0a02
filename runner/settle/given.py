"""What a recipe names outside itself: opened from where it was written, and remembered as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.data.source import Source
from runner.errors import DataError
from runner.hub.ids import as_path
from runner.language import as_given
from runner.language.as_given import at, put
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
        classes: the data's, where another process has read them already.

    Attributes:
        written: paths as the recipe gives them, by their places in it.
    """

    def __init__(
        self,
        recipe: Recipe,
        values: dict[str, Any],
        *,
        offline: bool,
        allow_pickle: bool,
        classes: list[str] | None = None,
    ) -> None:
        self.recipe, self.values, self.classes = recipe, values, classes
        self.offline, self.allow_pickle = offline, allow_pickle
        self.written = as_given.read(recipe.document, values)

    def data(self) -> Source:
        """The source of the `data` section."""
        written = dict(places(self.values["data"]))
        source = open_data(self.recipe, self.values, offline=self.offline)
        self.written |= {path: text for path, text in written.items() if text != at(self.values, path)}
        return source

    def files(self, path: Steps, key: str = "id") -> Files:
        """The files that `key` of the section at `path` names; beside it stand their revision and an id's subfolder."""
        section = at(self.values, path)
        revision = "revision" if key == "id" else f"{key}_revision"
        files = open_files(
            section[key],
            base=self.recipe.folder_of((*path, key)),
            key=dotted((*path, key)),
            revision=section.get(revision),
            subfolder=section.get("subfolder") if key == "id" else None,
            offline=self.offline,
        )
        if files.revision is not None:
            section[revision] = files.revision
        local = as_path(section[key], self.recipe.folder_of((*path, key)))
        if local is not None:
            self._make_absolute((*path, key), str(local))
        return files

    def find(self, path: Steps) -> Path:
        """The file that the text at `path` names.

        Raises:
            DataError: there is none.
        """
        written = at(self.values, path)
        try:
            found = self.recipe.folder_of(path) / Path(written).expanduser()
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
        self._make_absolute(path, str(self.find(path)))

    def _make_absolute(self, path: Steps, place: str) -> None:
        written = at(self.values, path)
        put(self.values, path, place)
        if written != place:
            self.written[path] = written
