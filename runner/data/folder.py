"""`data.type: folder`: a tree of image files, with captions beside them and class folders."""

from __future__ import annotations

import json
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from PIL import Image

from runner.data.captions import METADATA, read_metadata, read_text
from runner.data.decode import BadPicture, open_picture, opened
from runner.data.source import Entry, Item, Source
from runner.errors import DataError
from runner.shown import shown

KINDS = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""The file name endings of pictures that are read."""

OTHER_KINDS = frozenset(
    {".avif", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ppm", ".pgm", ".exr", ".hdr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Endings of pictures that are not read: such a file is counted and named, not passed over in silence."""

UNFINISHED = "export-unfinished.json"
"""Lies in a folder that `recipe data --export` writes, until all pictures are there."""

_Look = tuple[int, int, str | None]  # size, time of change in ns, and why not to open the file


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # relative, with '/'
    size: int
    mtime_ns: int
    problem: str | None  # why it is not even opened


class Folder(Source):
    """All pictures of a folder and its subfolders, sorted by the bytes of their relative names.

    Hidden files and folders (a leading dot) are passed over. Links that leave the folder, links to folders, and what
    is no regular file are never opened; each is found as a broken picture. If every picture lies in a subfolder, the
    first-level subfolders, sorted, are the classes. Captions come from metadata.jsonl or metadata.csv in or above a
    picture's folder, else from a .txt file of the same stem; with `metadata_file` from that file alone.

    Args:
        id: the folder's absolute path.
        caption_column: the column of captions in metadata files.
        metadata_file: the absolute path of a .jsonl or .csv file, wherever it lies, that names every picture relative
            to the folder; None looks for such files in the folder.

    Raises:
        DataError: no such folder, no picture in it, or metadata that does not fit (see `read_metadata`).
        Refused: metadata that names a file outside the folder.
    """

    def __init__(self, *, id: str, caption_column: str, metadata_file: str | None) -> None:
        self.root = Path(id)
        _require_folder(self.root)
        files, self._texts, metadata = _walk(self.root, with_metadata=metadata_file is None)
        if not files:
            raise DataError(f"{shown(self.root, 1000)} has no picture in it: looked for {', '.join(sorted(KINDS))}")
        files.sort(key=lambda file: os.fsencode(file.name))
        self._files = files
        good = [file.name for file in files if file.problem is None]
        names = {file.name for file in files}
        if metadata_file is not None:
            metadata = [("", _metadata(Path(metadata_file)))]
        self._captions = read_metadata(self.root, metadata, caption_column, names, good) if metadata else {}
        in_folders = bool(good) and all("/" in name for name in good)
        self.classes = sorted({name.split("/", 1)[0] for name in good}, key=os.fsencode) if in_folders else []
        self._labels = {name: label for label, name in enumerate(self.classes)}
        self.count = len(files)
        self.fingerprint = self._digest()

    def __iter__(self) -> Iterator[Entry]:
        for file in self._files:
            caption, problem = None, file.problem
            try:
                caption = self._caption(file.name)
            except BadPicture as error:
                problem = problem or str(error)
            item = Item(file.name, caption, self._labels.get(file.name.split("/", 1)[0]))
            yield Entry(item, partial(_load, self.root / file.name, file, problem))

    def _caption(self, name: str) -> str | None:
        if name in self._captions:
            return self._captions[name]
        text = _text_of(name)
        if text not in self._texts:
            return None
        *_, problem = self._texts[text]
        if problem is not None:
            raise BadPicture(f"has a caption file, {shown(posixpath.basename(text))}, that {problem}")
        try:
            return read_text(self.root / text)
        except OSError as error:
            raise _changed(self.root / text) from error

    def _digest(self) -> str:
        digest = sha256()
        for file in self._files:
            caption = self._captions.get(file.name, self._texts.get(_text_of(file.name)))
            known = [
                file.name,
                file.size,
                file.mtime_ns,
                file.problem,
                caption,
                self._labels.get(file.name.split("/")[0]),
            ]
            digest.update(json.dumps(known).encode("ascii") + b"\n")
        return digest.hexdigest()


def _require_folder(root: Path) -> None:
    if not root.is_absolute():  # a path is absolute by now if it is there: this one is not
        raise DataError(f"the folder {shown(root, 1000)} is not there: correct data.id")
    if root.is_dir():
        if not os.access(root, os.R_OK | os.X_OK):
            raise DataError(f"the folder {shown(root, 1000)} may not be read by this user: change its permissions")
        if (root / UNFINISHED).is_file():
            raise DataError(
                f"{shown(root, 1000)} is an export that did not finish: give the same 'recipe data … --export' again, "
                f"or delete its {UNFINISHED} to use the pictures that are there"
            )
        return
    if root.suffix == ".parquet":
        raise DataError(f"{shown(root, 1000)} is a parquet file: set data.type to hub")
    if root.exists():
        raise DataError(f"{shown(root, 1000)} is a file: data.id names the folder that holds the pictures")
    raise DataError(f"the folder {shown(root, 1000)} is not there: correct data.id")


def _metadata(path: Path) -> str:
    if path.suffix not in (".jsonl", ".csv"):
        raise DataError(f"{shown(path, 1000)} is neither a .jsonl nor a .csv file: correct data.metadata_file")
    if not path.is_file():
        raise DataError(f"the file {shown(path, 1000)} is not there: correct data.metadata_file")
    return str(path)


def _walk(root: Path, *, with_metadata: bool) -> tuple[list[_File], dict[str, _Look], list[tuple[str, str]]]:
    """Pictures, .txt files, and metadata files, each after its folder, below `root`."""
    files: list[_File] = []
    texts: dict[str, _Look] = {}
    metadata: list[tuple[str, str]] = []
    real_root = os.path.realpath(root)
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            files.append(_File(folder, 0, 0, f"is a folder that cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            kind = posixpath.splitext(entry.name)[1].lower()
            size, mtime_ns, problem = look = _look(entry, real_root)
            if kind in KINDS or (entry.is_symlink() and entry.is_dir()):
                files.append(_File(name, size, mtime_ns, problem))
            elif kind in OTHER_KINDS:
                files.append(_File(name, size, mtime_ns, problem or f"is of a kind not read ({kind}): save it as PNG"))
            elif kind == ".txt":
                texts[name] = look
            elif with_metadata and entry.name in METADATA:
                if problem is not None:
                    raise DataError(f"{shown(root / name, 1000)} {problem}")
                metadata.append((folder, name))
            elif with_metadata and entry.name == "metadata.parquet":
                raise DataError(
                    f"{shown(root / name, 1000)} is not read: write metadata.jsonl or metadata.csv in its place"
                )
    return files, texts, sorted(metadata, key=lambda found: os.fsencode(found[1]))


def _look(entry: os.DirEntry[str], real_root: str) -> _Look:
    try:
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path, strict=True))
            if not target.is_relative_to(real_root):
                return 0, 0, "is a link that leaves the folder: put the file itself there"
            if target.is_dir():
                return 0, 0, "is a link to a folder, which is not followed"
        found = entry.stat()
    except OSError as error:
        return 0, 0, f"{'is a link that leads nowhere' if entry.is_symlink() else 'cannot be read'} ({error.strerror})"
    if not stat.S_ISREG(found.st_mode):
        return 0, 0, "is not a regular file"
    if not os.access(entry.path, os.R_OK):
        return found.st_size, found.st_mtime_ns, "may not be read by this user"
    return found.st_size, found.st_mtime_ns, None


def _text_of(name: str) -> str:
    return posixpath.splitext(name)[0] + ".txt"


def _load(path: Path, file: _File, problem: str | None) -> Image.Image:
    if problem is not None:
        raise BadPicture(problem)
    try:
        with opened(path) as now:
            found = os.fstat(now.fileno())
            if (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns):
                return open_picture(now)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        pass
    raise _changed(path)


def _changed(path: Path) -> DataError:
    return DataError(f"{shown(path, 1000)} was changed or removed while the pictures were being read: start again")
