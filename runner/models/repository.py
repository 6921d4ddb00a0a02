"""A model's files on the hub, or what the hub's cache holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from runner.errors import EnvironmentFault, ModelError, RecipeError
from runner.hub.cache import snapshot, storage
from runner.hub.download import download
from runner.hub.faults import Asked, reading
from runner.hub.listing import Entry, listing, read
from runner.hub.verify import damaged, wanted_sha256
from runner.models.files import Files, Folder
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress


class Repository(Files):
    """A model of the hub at one commit. Offline it is what the hub's cache holds of it."""

    def __init__(self, id: str, *, key: str, revision: str | None, subfolder: str, offline: bool) -> None:
        self._asked = Asked("model", id, key, revision)
        self._below = f"{subfolder}/" if subfolder else ""
        self._offline = offline or constants.HF_HUB_OFFLINE
        self._entries: dict[str, Entry] = {}
        self._described: set[str] = set()
        self.origin = f"{id}/{subfolder}" if subfolder else id
        if self._offline:
            folder = snapshot(self._asked)
            if folder is None:
                at = f" at revision '{shown(revision)}'" if revision else ""
                raise EnvironmentFault(f"{self._asked.name} is not on this machine{at}: run once without --offline")
            self.revision, self._root = folder.name, folder / subfolder
            self.sizes = Folder(self._root).sizes if self._root.is_dir() else {}
        else:
            self.revision, entries = listing(self._asked)
            self._root = storage(id) / "snapshots" / self.revision / subfolder
            self._entries = {
                name.removeprefix(self._below): entry for name, entry in entries.items() if name.startswith(self._below)
            }
            self.sizes = {name: entry.size for name, entry in self._entries.items()}

    def at(self, name: str) -> Path | None:
        path, size = self._root / name, self.sizes.get(name)
        whole = path.is_file() and (size is None or path.stat().st_size == size)
        return path if whole else None

    def json(self, name: str) -> Any:
        value = super().json(name)
        self._described.add(name)
        return value

    def fetch(self, names: Sequence[str], progress: Progress) -> Path:
        """As `Files.fetch`; the configurations that were read come along, so that the model works offline later.

        What lies in the cache is compared with the hub's sha256 of it.
        """
        for name in names:
            if name not in self.sizes:
                raise self.lacks(name)
        needed = sorted({*names, *self._described})
        spoilt = self._spoilt([name for name in needed if self.at(name) is not None], progress)
        wanted = {name: self._entries[name] for name in needed if self.at(name) is None or name in spoilt}
        for name in wanted:
            if (self._root / name).exists():
                progress.warn(f"{self.title(name)} is damaged in the hub's cache: downloading it again")
                (self._root / name).unlink()
        if wanted:
            download(
                self._asked, str(self.revision), {self._below + name: entry for name, entry in wanted.items()}, progress
            )
        return self._root

    def _spoilt(self, names: Sequence[str], progress: Progress) -> list[str]:
        """Which of these files of the cache are not what the hub has."""
        digests = {}
        for name in names:
            entry = self._entries.get(name)
            digest = wanted_sha256(self._root / name) if entry is None else entry.sha256
            if digest is not None:
                digests[self._root / name] = digest
        with reading(self._asked):
            paths = damaged(self._asked.id, digests, progress)
        found = [name for name in names if self._root / name in paths]
        if found and self._offline:
            raise ModelError(
                f"{self.title(found[0])} is damaged in the hub's cache (its sha256 is not that of the hub's file): "
                "run once without --offline, which downloads it again"
            )
        return found

    def lacks(self, name: str) -> RecipeError:
        if not self._offline:
            return ModelError(f"{self._asked.name} has no file {shown(self._below + name)}: correct {self._asked.key}")
        return EnvironmentFault(
            f"{self._asked.name} is on this machine only in part ({shown(self._below + name)} is missing): "
            "run once without --offline"
        )

    def _asked_for(self, name: str, count: int) -> bytes:
        return read(self._asked, str(self.revision), self._below + name, count)
