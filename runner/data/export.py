"""A data set as a folder of PNG files and a metadata.jsonl, to look at, to edit, and to train on as `type: folder`."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runner.data.decode import blamed, none_usable, skippable, to_rgb
from runner.data.folder import UNFINISHED
from runner.data.source import Entry, Item, Source
from runner.data.workers import in_order
from runner.errors import UsageError
from runner.outputs.files import faults, sync_folder, sync_tree, write_bytes
from runner.outputs.png import pack
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_MARK = ".recipe-export.json"  # says of which data the folder is an export
_METADATA = "metadata.jsonl"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_UNSAFE = re.compile(r"[^\w.,()+-]+|^[.-]+")  # in a class name that becomes a folder


def export(
    source: Source, folder: Path, progress: Progress, *, background: str, max_images: int | None, on_error: str
) -> int:
    """Write every picture as RGB at its own size: `<class>/000123.png`, and metadata.jsonl last.

    The number is the picture's place in the source. A second call goes on where an interrupted one stopped: PNG files
    that are there whole stay. A finished export is never touched again.

    Args:
        source: where the pictures come from.
        background: the colour behind transparent pictures, #rrggbb.
        max_images: the first N only.
        on_error: 'stop' (after all others are written, without metadata.jsonl) or 'skip'.

    Returns:
        How many pictures the folder holds.

    Raises:
        UsageError: `folder` holds something else than an export of this same source.
        DataError: broken pictures with `on_error: stop`, or none that can be used.
        EnvironmentFault: the folder cannot be written.
    """
    source.fetch(progress)
    if _claim(folder, sha256(json.dumps([source.fingerprint, background, max_images]).encode()).hexdigest()):
        with faults(folder / _METADATA, "read"):
            return (folder / _METADATA).read_bytes().count(b"\n")
    folders = _class_folders(source.classes)
    for name in folders:
        with faults(folder / name):
            (folder / name).mkdir(exist_ok=True)
    rows, skipped = _write_all(source, folder, folders, progress, background, max_images)
    if not rows:
        raise none_usable(skipped)
    if skipped:
        message = skippable(skipped, len(rows) + len(skipped), on_error)
        progress.warn(f"{message}: skipped, {len(rows)} are exported")
    write_bytes(folder / _METADATA, "".join(rows).encode("ascii"))
    with faults(folder):
        sync_tree(folder)
        (folder / UNFINISHED).rename(folder / _MARK)
        sync_folder(folder)
    return len(rows)


def _write_all(
    source: Source, folder: Path, folders: list[str], progress: Progress, background: str, max_images: int | None
) -> tuple[list[str], list[tuple[str, str]]]:
    """The rows of metadata for what was written, and name and reason of what cannot be."""
    rows: list[str] = []
    skipped: list[tuple[str, str]] = []
    numbered = enumerate(islice(source, max_images))
    title, total = f"Exporting to {shown(folder, 1000)}", source.first(max_images)
    with progress.bar(title, total, unit="picture") as bar:
        for done in in_order(partial(_write, folder, folders, background), numbered):
            if done.reason is not None:
                skipped.append((done.item.name, done.reason))
            else:
                rows.append(_row(done, source.classes))
            bar.advance()
    return rows, skipped


class _Written(NamedTuple):
    item: Item
    file_name: str
    reason: str | None


def _write(folder: Path, folders: list[str], background: str, numbered: tuple[int, Entry]) -> _Written:
    number, (item, load) = numbered
    name = f"{number:06}.png"
    if item.label is not None and folders:
        name = f"{folders[item.label]}/{name}"
    try:
        if not _is_whole(folder / name):
            _put(folder / name, pack(to_rgb(load(), background)))
    except Exception as error:  # pillow raises nearly anything on broken files
        return _Written(item, name, blamed(item.name, error))
    return _Written(item, name, None)


def _put(path: Path, data: bytes) -> None:
    """Write under another name and rename; fsync comes at the end: one by one it would take most of the time."""
    scratch = path.with_name(f".tmp-{path.name}")
    with faults(path):
        scratch.write_bytes(data)
        scratch.replace(path)


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-len(_PNG_END), io.SEEK_END)
            return file.read() == _PNG_END
    except OSError:
        return False


def _row(done: _Written, classes: list[str]) -> str:
    row: dict[str, str | None] = {"file_name": done.file_name, "text": done.item.caption}
    if done.item.label is not None:
        row["label"] = classes[done.item.label]
    return json.dumps(row) + "\n"


def _claim(folder: Path, fingerprint: str) -> bool:
    """Make `folder` this export's own, if it is new, empty, or this export's own already; whether it is finished."""
    with faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        theirs = any(folder.iterdir())
        marks = {mark: (folder / mark).read_bytes() for mark in (_MARK, UNFINISHED) if (folder / mark).is_file()}
    ours = json.dumps({"fingerprint": fingerprint}).encode()
    if ours in marks.values():
        return _MARK in marks
    if theirs:
        what = "an export of other data" if marks else "other files"
        raise UsageError(f"{shown(folder, 1000)} holds {what}: choose a new or empty folder")
    write_bytes(folder / UNFINISHED, ours)
    return False


def _class_folders(classes: list[str]) -> list[str]:
    """A folder name for each class: its own name as far as that is safe, and no two alike."""
    names: list[str] = []
    taken: set[str] = set()
    for number, label in enumerate(classes):
        name = _UNSAFE.sub("_", label)[:100] or "_"
        if name.lower() in taken:
            name = f"{name}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names
