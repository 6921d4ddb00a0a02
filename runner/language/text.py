"""A recipe file's bytes and its text."""

from __future__ import annotations

import codecs
import difflib
import errno
import stat
from pathlib import Path

from runner.errors import UsageError
from runner.shipped_files import recipes
from runner.shown import shown

_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture",
    b"PK\x03\x04": "a zip archive (or a PyTorch checkpoint)",
    b"PAR1": "a parquet file",
    b"\x80\x02": "a pickle",
    b"GGUF": "a GGUF model",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
}


def read_bytes(path: Path, most: int) -> bytes:
    """The file's first `most + 1` bytes.

    Raises:
        UsageError: the file does not exist, is no plain file or cannot be read.
    """
    name = shown(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UsageError(f"{name} is a folder: name the recipe file in it")
        if not stat.S_ISREG(mode):
            raise UsageError(f"{name} is not a plain file")
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no recipe {name}{_meant(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOTDIR:
            reason = "a part of the path is a file"
        raise UsageError(f"{name} cannot be read: {shown(reason).lower()}") from None


def decode(data: bytes) -> tuple[str, tuple[str, str] | None]:
    """The bytes as text; where they are none, also a sentence about it and the text before the bad place."""
    if data[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "", ("the file is UTF-32: save it as UTF-8", "")
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    if encoding == "utf-8-sig" and (kind := next((k for m, k in _MAGIC.items() if data.startswith(m)), None)):
        return "", (f"this is {kind}, not a recipe: a recipe is a YAML text", "")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        whole = data.decode(encoding, "replace").replace("\0", "\ufffd")
        if encoding == "utf-16":
            return whole, ("the file's UTF-16 is broken here: save it as UTF-8", before)
        return whole, (f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8", before)
    if "\0" in text:
        sentence = "this is not text (it holds zero bytes): a recipe is a YAML text in UTF-8"
        return text, (sentence, text[: text.index("\0")])
    return text, None


def _meant(path: Path) -> str:
    """'; did you mean …?' among the shipped recipes and the recipes beside the missing file."""
    shipped = [name for name, _, _ in recipes()]
    try:
        beside = [p for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml")]
    except (OSError, ValueError):
        beside = []
    close = difflib.get_close_matches(path.stem, [*shipped, *(p.stem for p in beside)], n=1, cutoff=0.6)
    if not close:
        return "; 'recipe ls' lists the shipped ones"
    near = next((str(p) for p in beside if p.stem == close[0]), close[0])
    return f"; did you mean {shown(near)}?"
