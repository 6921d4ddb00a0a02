"""Captions that lie beside pictures: metadata.jsonl, metadata.csv and .txt files."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.data.decode import BadPicture, opened
from runner.errors import DataError, Refused
from runner.shown import shown

METADATA = ("metadata.jsonl", "metadata.csv")
LONGEST = 100_000
"""Bytes of a caption; a longer one is no caption."""

_NAMED = 5  # files named in one message
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # no caption has such a character: these are not texts


def read_metadata(
    root: Path, files: Iterable[tuple[str, str]], column: str, pictures: Collection[str], good: Iterable[str]
) -> dict[str, str | None]:
    """The captions of all pictures that metadata files speak of.

    Args:
        root: the data folder.
        files: (folder, file): the folder whose pictures, and those below it, a metadata file names, relative to `root`;
            and the file, relative to `root` or absolute.
        column: the caption column. A row without it, or an empty one, is a picture without a caption.
        pictures: the relative names of all pictures found, which rows may name.
        good: those of them that must have a row.

    Returns:
        name of the picture -> caption or None, for every picture in or below a metadata file's folder.

    Raises:
        DataError: a file that cannot be read, a row that names no picture or one named before, a picture without a row.
        Refused: a row that names a file outside `root`.
    """
    captions: dict[str, str | None] = {}
    places: dict[str, str] = {}  # picture -> where its row stands
    columns: set[str] = set()
    folders: dict[str, str] = {}  # folder -> its metadata file
    for folder, file in files:
        if folder in folders:
            raise DataError(f"{shown(folders[folder])} and {shown(file)} lie in one folder: keep one of them")
        folders[folder] = file
        missing: list[str] = []
        for line, row in _rows(root / file):
            place = f"{shown(file)} line {line}"
            name = _named(row, folder, place)
            columns |= row.keys() - {"file_name"}
            if name in places:
                raise DataError(f"{place} names {shown(name)} again, first named in {places[name]}: keep one of them")
            if name not in pictures:
                missing.append(f"{shown(name)} in line {line}")
            places[name] = place
            captions[name] = _caption(row.get(column), f"{place}, column {shown(column)}")
        _require_there(missing, file)
    if captions:
        _require_column(column, columns, next(iter(folders.values())))
    _require_rows(good, captions, folders)
    return captions


def require_captions(names: Sequence[str], found: int, *, captioned: bool = False) -> None:
    """No picture is trained on without a text.

    Args:
        names: the pictures of the `found` ones that have none.
        captioned: whether an image-to-text model was asked for them and had no words.

    Raises:
        DataError: there are such pictures.
    """
    if names:
        have = "has" if found == 1 else "have"
        pictures = "picture" if found == 1 else "pictures"
        mend = "have an image-to-text model write them (data.caption)"
        if captioned:
            mend = "ask for them another way (data.caption.prompt) or another model (data.caption.id)"
        raise DataError(
            f"{len(names)} of {found} {pictures} {have} no caption ({_first([shown(n, 100) for n in names])}): "
            f"add the captions, {mend}, or give all pictures a text "
            "(data.instance_prompt, or data.caption_templates without {caption})"
        )


def read_text(path: Path) -> str | None:
    """The caption in a .txt file, without the white space around it; None if it is empty.

    Raises:
        BadPicture: too long, not UTF-8, or with a control character; the reason names the file and the byte.
    """
    with opened(path) as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise BadPicture(f"has a caption of over {LONGEST // 1000} kB in {shown(path.name)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise BadPicture(
            f"has a caption that is not UTF-8: byte {error.start} of {shown(path.name)} is 0x{byte:02x}"
        ) from None
    if (control := _CONTROL.search(data.decode("latin-1"))) is not None:
        raise BadPicture(
            f"has a caption with a control character: byte {control.start()} of {shown(path.name)} is "
            f"0x{ord(control[0]):02x}"
        )
    return text.strip() or None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and row of every row of a metadata file."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # a byte order mark, as spreadsheets write it, is no part of the first name
    except OSError as error:
        raise DataError(f"{shown(path, 1000)} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown(path, 1000)} is not UTF-8: line {line}, byte {error.start} of the file is "
            f"0x{data[error.start]:02x}; save it as UTF-8"
        ) from None
    return _json_rows(path, text) if path.suffix == ".jsonl" else _csv_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(path, 1000)} line {number} is not JSON ({shown(error)})") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{shown(path, 1000)} line {number} is no object: each line is {{"file_name": …, "text": …}}'
            )
        yield number, row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise DataError(f"{shown(path, 1000)} has two columns of one name: {shown(', '.join(header))}")
            elif cells and len(cells) != len(header):
                raise DataError(
                    f"{shown(path, 1000)} line {start} has {len(cells)} cells and the header {len(header)}: "
                    'a cell with a comma stands in "quotes"'
                )
            elif cells:
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{shown(path, 1000)} line {start} is not CSV ({shown(error)}): check its quotes") from None


def _named(row: Mapping[str, Any], folder: str, place: str) -> str:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{place} has no file_name: it has {shown(', '.join(map(str, row))) or 'nothing'}")
    path = posixpath.normpath(posixpath.join(folder, name))
    if path.startswith(("/", "../")) or path == "..":
        raise Refused(f"{place} names {shown(name)}, a file outside the data folder")
    return path


def _caption(value: Any, place: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{place} holds {shown(json.dumps(value), 60)}, which is not text")
    if (control := _CONTROL.search(value)) is not None:
        raise DataError(f"{place} holds the control character {shown(control[0])}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"{place} holds half a character ({shown(value[error.start])})") from None
    if size > LONGEST:
        raise DataError(f"{place} holds a caption of over {LONGEST // 1000} kB")
    return value.strip() or None


def _require_there(missing: list[str], file: str) -> None:
    """Every row is that of a picture."""
    if missing:
        are = "a picture that is" if len(missing) == 1 else f"{len(missing)} pictures that are"
        raise DataError(f"{shown(file)} names {are} not there ({_first(missing)}): correct or delete the rows")


def _require_column(column: str, columns: set[str], file: str) -> None:
    """Some row has the column that is asked for."""
    if column not in columns:
        raise DataError(
            f"{shown(file)} has no column '{shown(column)}': "
            f"set data.caption_column to one of {', '.join(map(shown, sorted(columns))) or 'its columns (it has none)'}"
        )


def _require_rows(pictures: Iterable[str], captions: Mapping[str, str | None], folders: Mapping[str, str]) -> None:
    """Every picture in or below a folder with a metadata file has its row."""
    without: dict[str, list[str]] = {}
    for name in pictures:
        if name not in captions:
            above = posixpath.dirname(name)
            while above and above not in folders:
                above = posixpath.dirname(above)
            if above in folders:
                without.setdefault(folders[above], []).append(shown(name))
    for file, names in without.items():
        have = "1 picture has" if len(names) == 1 else f"{len(names)} pictures have"
        raise DataError(f"{have} no row in {shown(file)} ({_first(names)}): add the rows or move the pictures away")


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
