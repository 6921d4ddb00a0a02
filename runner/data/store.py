"""Prepared pictures on disk: one flat file of uint8 pixels and its index, written whole or not at all.

A store is a folder of
    pixels.u8      the pixels of all pictures, one after the other
    index.i64      little-endian int64 rows of COLUMNS, one per picture
    texts.jsonl    one JSON line [name, caption] per picture
    skipped.jsonl  one JSON line [name, reason] per picture that could not be used
    store.json     sizes of these files, checksums of all but the pixels, the counts and the classes; written last

Every byte is checked before it is used: the pixels of a picture, whose checksum is in its row, when it is first read,
so that a store of any size opens at once; a small one when it is opened, so that it can be made anew before a run
begins. CRC-32 notices what a disk does to a file, which is all that it is for, three times as fast as sha256.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import zlib
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from runner.data import draft
from runner.data.source import Item, Place
from runner.outputs.files import write_bytes
from runner.shown import shown

VERSION = 4
COLUMNS = (
    *("offset", "height", "width", "label", "original_height", "original_width"),
    "text",  # offset in texts
    "origin",  # as Item's
    *("target_height", "target_width"),  # what training sees of it
    "checksum",  # of its pixels
)
_PIXELS = "pixels.u8"
_FILES = (_PIXELS, "index.i64", "texts.jsonl", "skipped.jsonl")
_MANIFEST = "store.json"
_CHUNK = 2**24  # bytes read at a time to check them
_WHAT = "picture cache"
_SMALL = 2**28  # bytes of pixels that are all checked when a store is opened


class Store:
    """A whole store, memory-mapped. Open one with `Store.open`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.found: int = manifest["found"]
        self.classes: list[str] = manifest["classes"]
        self._folder = folder
        # As plain arrays: numpy's memmap class makes each slice of itself three times as dear.
        self._pixels = np.memmap(folder / _PIXELS, np.uint8, "r").view(np.ndarray)
        with (folder / "texts.jsonl").open("rb") as texts:
            self._texts = mmap.mmap(texts.fileno(), 0, access=mmap.ACCESS_READ)
        rows = np.memmap(folder / "index.i64", "<i8", "r").view(np.ndarray).reshape(-1, len(COLUMNS))
        self.index = {name: rows[:, i] for i, name in enumerate(COLUMNS)}
        self._places = rows[:, :3]  # offset, height, width
        self._checked = np.zeros(len(rows), bool)
        lines = (folder / "skipped.jsonl").read_text("ascii").splitlines()
        self.skipped: list[tuple[str, str]] = [(name, reason) for name, reason in map(json.loads, lines)]

    @classmethod
    def open(cls, folder: Path) -> Store | None:
        """The store in `folder`; None where there is none or it is damaged: changed, half-written, of another form.

        A change of the pixels of a large one is found when the picture is read.
        """
        try:
            manifest = json.loads((folder / _MANIFEST).read_text("ascii"))
            if manifest["version"] != VERSION or set(manifest["files"]) != set(_FILES):
                return None
            for name, (size, checksum) in manifest["files"].items():
                with (folder / name).open("rb") as file:
                    if os.fstat(file.fileno()).st_size != size:
                        return None
                    if name != _PIXELS and _checksum(file) != checksum:
                        return None
            store = cls(folder, manifest)
            if len(store._pixels) <= _SMALL and not all(map(store._is_whole, range(len(store)))):
                return None
            return store
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __len__(self) -> int:
        return len(self.index["offset"])

    def pixels(self, i: int) -> NDArray[np.uint8]:
        """uint8 (h, w, 3): a read-only view of the file.

        Raises:
            EnvironmentFault: they are not those that were written.
        """
        if not self._checked[i] and not self._is_whole(i):
            raise draft.damaged(self._folder, shown(self.text(i)[0]))
        start, height, width = self._places[i].tolist()
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def _is_whole(self, i: int) -> bool:
        start, height, width = self._places[i].tolist()
        checksum = zlib.crc32(self._pixels[start : start + height * width * 3].data)
        self._checked[i] = whole = checksum == self.index["checksum"][i]
        return bool(whole)

    def text(self, i: int) -> tuple[str, str | None]:
        """Name and caption."""
        start = int(self.index["text"][i])
        name, caption = json.loads(self._texts[start : self._texts.find(b"\n", start)])
        return name, caption


class Writer:
    """Writes a store: add pictures as they come, then `keep` it, which puts them in the order of their places.

    Nothing is left behind if it is not kept.

    Attributes:
        used: how many pictures there are so far.

    Raises:
        EnvironmentFault: from every method, where the disk is full or cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used = 0
        self._places = array("q")
        self._skipped: list[tuple[Place, str, str]] = []
        self._sizes = dict.fromkeys(_FILES, 0)
        self._checksums = dict.fromkeys(_FILES, 0)
        with draft.writing(root, _WHAT):
            self._temporary = draft.begin(root)
            self._files: dict[str, BinaryIO] = {name: (self._temporary / name).open("x+b") for name in _FILES}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            with suppress(OSError):
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(
        self,
        place: Place,
        item: Item,
        pixels: NDArray[np.uint8],
        original: tuple[int, int],
        target: tuple[int, int] | None = None,
    ) -> None:
        """A picture of `original` (width, height) that became `pixels`, uint8 (h, w, 3).

        `target` is the (height, width) that training sees of it; None is all of it.
        """
        self._places.extend(place)
        height, width = pixels.shape[:2]
        pixels = np.ascontiguousarray(pixels)
        label = -1 if item.label is None else item.label
        row = (
            *(self._sizes[_PIXELS], height, width, label, original[1], original[0]),
            *(self._sizes["texts.jsonl"], item.origin, *(target or (height, width)), zlib.crc32(pixels.data)),
        )
        self._write(_PIXELS, pixels.data)
        self._write("index.i64", np.array(row, "<i8").tobytes())
        self._write("texts.jsonl", _line(item.name, item.caption))
        self.used += 1

    def skip(self, place: Place, item: Item, reason: str) -> None:
        """A picture that cannot be used."""
        self._skipped.append((place, item.name, reason))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Name and reason of the pictures that cannot be used, in order."""
        return [(name, reason) for _, name, reason in sorted(self._skipped)]

    def keep(self, name: str, classes: list[str]) -> Path:
        """Make what was written durable as `root/name` and return that path; a store that is there already stays."""
        for line in self.skipped:
            self._write("skipped.jsonl", _line(*line))
        self._put_in_order()
        manifest = {
            "version": VERSION,
            "found": self.used + len(self._skipped),
            "classes": classes,
            "files": {file: (self._sizes[file], self._checksums[file]) for file in _FILES},
        }
        target = self.root / name
        with draft.writing(self.root, _WHAT):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()
            write_bytes(self._temporary / _MANIFEST, json.dumps(manifest).encode("ascii"))
            draft.finish(self._temporary, target, lambda path: Store.open(path) is not None)
        return target

    def _put_in_order(self) -> None:
        """Only the index is: what it tells of may lie anywhere."""
        shards, rows = np.frombuffer(self._places, np.int64).reshape(-1, 2).T
        order = np.lexsort((rows, shards))
        if (order[1:] > order[:-1]).all():
            return
        name = "index.i64"
        with draft.writing(self.root, _WHAT):
            file = self._files[name]
            file.seek(0)
            index = np.frombuffer(file.read(), "<i8").reshape(-1, len(COLUMNS))[order].tobytes()
            file.seek(0)
            file.write(index)
        self._checksums[name] = zlib.crc32(index)

    def _write(self, name: str, data: bytes | memoryview) -> None:
        with draft.writing(self.root, _WHAT):
            self._files[name].write(data)
        self._sizes[name] += len(data) if isinstance(data, bytes) else data.nbytes
        if name != _PIXELS:
            self._checksums[name] = zlib.crc32(data, self._checksums[name])


def _checksum(file: BinaryIO) -> int:
    checksum = 0
    while chunk := file.read(_CHUNK):
        checksum = zlib.crc32(chunk, checksum)
    return checksum


def _line(name: str, text: str | None) -> bytes:
    return json.dumps([name, text]).encode("ascii") + b"\n"  # ASCII: names that are not UTF-8 survive as surrogates
