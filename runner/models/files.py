"""A model's files, on this machine or on the hub: listed first, read when they are needed."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ModelError, RecipeError, Refused
from runner.hub.ids import as_path, is_hub_id
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_LARGEST_JSON = 2**24  # bytes; the index of the largest sharded model has some hundred thousand
_DEPTH = 3  # folders below the root: a part's weights lie one deep


class Files(ABC):
    """The files of one folder, of one repository at one commit, or a single file.

    Attributes:
        origin: where they are, as a person writes it: a path, or owner/name.
        revision: the commit of a hub repository; None on this machine.
        sizes: bytes by name (posix, relative to the root); None where the hub does not say.
        held: the parts whose weights lie in a single-file checkpoint, not in their own folders.
    """

    origin: str
    revision: str | None
    sizes: Mapping[str, int | None]
    held: frozenset[str] = frozenset()

    @abstractmethod
    def at(self, name: str) -> Path | None:
        """Where a file lies on this machine; None where `fetch` would download it."""

    @abstractmethod
    def fetch(self, names: Sequence[str], progress: Progress) -> Path:
        """The root of a folder that holds these files, downloaded where they are not here yet.

        Raises:
            ModelError, EnvironmentFault: as the hub answers; a damaged download.
        """

    @abstractmethod
    def lacks(self, name: str) -> RecipeError:
        """The fault to raise where a file that must be there is not among `sizes`."""

    def json(self, name: str) -> Any:
        """A small JSON file's value; nothing stays on this machine that was not there.

        Raises:
            ModelError: it is missing or no JSON.
            EnvironmentFault: the hub cannot be asked.
        """
        if name not in self.sizes:
            raise self.lacks(name)
        if (self.sizes[name] or 0) > _LARGEST_JSON:
            raise ModelError(f"{self.title(name)} is over {_LARGEST_JSON:,} bytes: too large to describe a model")
        try:
            return json.loads(self.start(name, _LARGEST_JSON))
        except json.JSONDecodeError as error:
            at = f" from line {error.lineno}, letter {error.colno} on"
        except (ValueError, RecursionError):  # bytes that are no text, nesting without an end
            at = ""
        raise ModelError(f"{self.title(name)} is no readable JSON{at}: get the file again")

    def title(self, name: str) -> str:
        """What sentences call a file."""
        return shown(f"{self.origin}/{name}")

    def start(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file, or all of a shorter one; nothing stays that was not there.

        Raises:
            ModelError: it is missing or cannot be read.
            EnvironmentFault: the hub cannot be asked.
        """
        path = self.at(name)
        if path is None:
            return self._asked_for(name, count)
        try:
            with path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise ModelError(f"{self.title(name)} cannot be read ({shown(error.strerror)})") from None

    def _asked_for(self, name: str, count: int) -> bytes:  # noqa: ARG002 - only a hub can be asked
        raise self.lacks(name)


class Folder(Files):
    """A folder of this machine. Links that leave it are not followed, but for the hub cache's own to its blobs."""

    revision = None

    def __init__(self, root: Path) -> None:
        self.origin, self._root = str(root), root
        self._inside = _own_places(root)
        self._leaving: set[str] = set()
        self.sizes = dict(self._walk(root, _DEPTH))

    def _walk(self, folder: Path, depth: int) -> Iterator[tuple[str, int]]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            name = path.relative_to(self._root).as_posix()
            if entry.is_symlink() and not any(
                Path(os.path.realpath(path)).is_relative_to(place) for place in self._inside
            ):
                self._leaving.add(name)
            elif path.is_file():
                yield name, path.stat().st_size
            elif depth and path.is_dir() and not entry.name.startswith("."):
                yield from self._walk(path, depth - 1)

    def at(self, name: str) -> Path:
        return self._root / name

    def fetch(self, names: Sequence[str], progress: Progress) -> Path:  # noqa: ARG002 - there is nothing to show
        for name in names:
            if name not in self.sizes:
                raise self.lacks(name)
        return self._root

    def lacks(self, name: str) -> RecipeError:
        parents = [name, *(parent.as_posix() for parent in Path(name).parents)]
        if self._leaving.intersection(parents):
            return Refused(f"{self.title(name)} is a link that leaves the model's folder: put the file itself there")
        return ModelError(f"{self.title(name)} is missing: a model is a folder in diffusers' layout with all its files")


class Single(Files):
    """One file of this machine."""

    revision = None

    def __init__(self, path: Path) -> None:
        self.origin, self._path = str(path), path
        self.sizes = {path.name: path.stat().st_size}

    def at(self, name: str) -> Path:
        return self._path.with_name(name)

    def fetch(self, names: Sequence[str], progress: Progress) -> Path:  # noqa: ARG002 - there is nothing to show
        for name in names:
            if name not in self.sizes:
                raise self.lacks(name)
        return self._path.parent

    def lacks(self, name: str) -> RecipeError:
        return ModelError(f"{shown(self.origin)} is a single file: there is no {shown(name)} beside it")

    def title(self, name: str) -> str:
        return shown(self.origin) if name in self.sizes else super().title(name)


def open_files(
    id: str, *, base: Path, key: str, revision: str | None = None, subfolder: str | None = None, offline: bool = False
) -> Files:
    """The files that an `id` of a recipe means.

    Args:
        base: what a relative path is relative to.
        key: the recipe's key that holds the id, for sentences: 'model.id', 'model.vae.id'.
        revision: a branch, tag or commit of a hub repository.
        subfolder: the folder below that becomes the root.

    Raises:
        ModelError: nothing is there, or the hub has no such model.
        EnvironmentFault: the hub cannot be asked; offline: it is not on this machine.
        Refused: a URL, or a path that leaves.
    """
    below, path = _below(subfolder, key), as_path(id, base)
    try:
        if path is None:
            return _on_hub(id, below, key, revision, offline)
        if (path / below).is_dir():
            return Folder(path / below)
        if path.is_file():
            return Single(path)
    except OSError as error:
        where = shown(id if path is None else path)
        raise ModelError(f"{where} cannot be read ({shown(error.strerror)}): correct {key}") from None
    raise ModelError(f"{shown(path / below)} is not there: correct {key}")


def _below(subfolder: str | None, key: str) -> str:
    """The folder below the root, '' for the root itself."""
    below = subfolder or ""
    if ".." in Path(below).parts or Path(below).is_absolute() or "\0" in below or "\\" in below:
        raise Refused(
            f"'{shown(below)}' is not allowed: {key.removesuffix('id')}subfolder is a folder inside the model"
        )
    return Path(below).as_posix() if below else ""


def _on_hub(id: str, below: str, key: str, revision: str | None, offline: bool) -> Files:
    if not is_hub_id(id):
        raise ModelError(f"'{shown(id)}' is neither there as a path nor an id of the hub (owner/name): correct {key}")
    from runner.models.repository import Repository  # it builds on this file

    files = Repository(id, key=key, revision=revision, subfolder=below, offline=offline)
    if below and not files.sizes:
        raise ModelError(f"model {shown(id)} has no folder {shown(below)}: correct {key.removesuffix('id')}subfolder")
    return files


def missing(files: Files, names: Sequence[str]) -> dict[str, int | None]:
    """Which of these files `fetch` would download, and their bytes where the hub says."""
    return {name: files.sizes.get(name) for name in names if files.at(name) is None}


def _own_places(root: Path) -> list[Path]:
    """The folders to which a link below `root` may lead."""
    real = root.resolve()
    snapshots = [parent for parent in [real, *real.parents] if parent.name == "snapshots"]
    return [real, *(parent.parent / "blobs" for parent in snapshots[:1])]
