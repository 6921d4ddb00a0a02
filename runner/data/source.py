"""Where pictures come from: what every data source offers, and the lookup that opens one.

Adding a source is one file here with a class that has `classes`, `fingerprint`, `count` and `__iter__`,
one fragment in schemas/data/ and one line in `_TYPES`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from runner.errors import EnvironmentFault, Refused
from runner.shown import shown

if TYPE_CHECKING:
    from PIL import Image

    from runner.progress import Progress

_TYPES = {
    "builtin": ("runner.data.builtin", "Builtin"),
    "folder": ("runner.data.folder", "Folder"),
    "hub": ("runner.data.hub", "open_hub"),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # http:, file:, hf:, data:, git+ssh: (one letter is a Windows drive)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"  # as huggingface_hub's validate_repo_id
_HUB_ID = re.compile(rf"(?:{_NAME}/)?{_NAME}")


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of a picture besides its pixels.

    Args:
        name: how messages and records call it: a path relative to the source, or split and row.
        caption: its text, or None.
        label: an index into the source's `classes`, or None.
    """

    name: str
    caption: str | None
    label: int | None


class Entry(NamedTuple):
    """One picture of a source, not decoded yet.

    `load()` gives the raw picture in any mode; it may be called once, in any thread, and raises on a broken one
    whatever pillow raises (`runner.data.decode.reason` turns that into words).
    """

    item: Item
    load: Callable[[], Image.Image]


class Source(ABC):
    """Pictures in a fixed order, read from the first to the last; iterating anew starts over.

    Opening a source only lists: it reads metadata, never a picture. Memory stays flat while iterating: an entry holds
    at most its own file's bytes.

    Attributes:
        classes: the class names that labels index; empty where the pictures have no labels.
        fingerprint: a hex digest of everything in the source that decides pixels, captions and labels.
        count: how many entries there are; None where only reading tells (a stream).
    """

    classes: list[str]
    fingerprint: str
    count: int | None

    def fetch(self, progress: Progress) -> None:  # noqa: B027 (most sources have nothing to fetch)
        """Bring what must be downloaded before the pictures can be read, shown as a bar; call it before iterating."""

    @abstractmethod
    def __iter__(self) -> Iterator[Entry]:
        """Every entry found, broken ones included: their `load` raises."""


class Listed(Source):
    """A source that can draw any picture by its number: subclasses give `items` and `picture`."""

    items: Sequence[Item]

    @abstractmethod
    def picture(self, index: int) -> Image.Image:
        """The raw picture of `items[index]`, in any mode."""

    @property
    def count(self) -> int:  # type: ignore[override]  # read-only here
        """How many pictures there are."""
        return len(self.items)

    def __iter__(self) -> Iterator[Entry]:
        for index, item in enumerate(self.items):
            yield Entry(item, partial(self.picture, index))


def open_source(section: Mapping[str, Any], *, offline: bool) -> Source:
    """The source that a resolved `data` section describes: listed, nothing downloaded or decoded yet.

    Args:
        section: every key of the section filled; an `id` that is a path is absolute already.
        offline: never use the network; only `hub` asks.

    Raises:
        DataError, ModelError (hub ids), EnvironmentFault, Refused.
    """
    module, name = _TYPES[section["type"]]
    build = getattr(importlib.import_module(module), name)
    given = {**section, "offline": offline}
    return cast(Source, build(**{key: given[key] for key in inspect.signature(build).parameters}))


def as_path(id: str, folder: Path) -> Path | None:
    """The absolute path that `id` means, or None where it is a hub id.

    './x', '../x', '/x' and '~/x' are paths, relative ones to `folder`; anything else only if it exists there.

    Raises:
        Refused: a URL, a NUL byte, or an `id` that climbs ('a/../b').
        EnvironmentFault: '~' without a home folder.
    """
    if "\0" in id or _SCHEME.match(id):
        raise Refused(f"'{shown(id)}' is not allowed: an id is 'owner/name' on the hub or a local path, never a URL")
    if id in ("~", ".", "..") or id.startswith(("./", "../", "/", "~/")) or Path(id).is_absolute():
        try:
            return folder.absolute() / Path(id).expanduser()
        except RuntimeError as error:
            raise EnvironmentFault(f"'{shown(id)}' cannot be found: this user has no home folder") from error
    if ".." in re.split(r"[/\\]", id):
        raise Refused(f"'{shown(id)}' is not allowed: '..' may only stand at the start of a path")
    path = folder.absolute() / id
    return path if id and path.exists() else None


def is_hub_id(id: str) -> bool:
    """Whether `id` has the form 'owner/name' (or an old one-word 'name') of the hub."""
    return len(id) <= 96 and "--" not in id and ".." not in id and _HUB_ID.fullmatch(id) is not None
