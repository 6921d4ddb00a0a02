"""A model's files, on this machine or on the hub: listed first, read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.progress import Progress


class Files(ABC):
    """The files of one folder, of one repository at one commit, or a single file.

    Attributes:
        origin: where they are, as a person writes it: a path, or owner/name.
        revision: the commit of a hub repository; None on this machine.
        sizes: bytes by name (posix, relative to the root); None where the hub does not say.
    """

    origin: str
    revision: str | None
    sizes: Mapping[str, int | None]

    @abstractmethod
    def at(self, name: str) -> Path | None:
        """Where a file lies on this machine; None where `fetch` would download it."""

    @abstractmethod
    def json(self, name: str) -> Any:
        """A small JSON file's value; nothing stays on this machine that was not there.

        Raises:
            ModelError: it is missing or no JSON.
            EnvironmentFault: the hub cannot be asked.
        """

    @abstractmethod
    def fetch(self, names: Sequence[str], progress: Progress) -> Path:
        """The root of a folder that holds these files, downloaded where they are not here yet.

        Raises:
            ModelError, EnvironmentFault: as the hub answers; a damaged download.
        """
