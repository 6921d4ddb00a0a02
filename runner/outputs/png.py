"""PNG files that carry text: written with Pillow, read back without it and without trust.

The format: W3C Portable Network Graphics (third edition), sections 5 (chunks) and 11.3.3 (text).
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runner.outputs.files import faults, write_bytes
from runner.secrets import redact

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST = 1 << 20  # bytes of one text, packed or not
_MOST_TOTAL = 4 << 20
_MOST_CHUNKS = 10_000
_SOFTWARE = "recipe"


def encode(image: "Image", chunks: Mapping[str, str]) -> bytes:
    """`image` as a PNG file with a text chunk for each of `chunks`, without secrets, and one that names the software.

    Plain ASCII becomes tEXt, which every reader knows; other text iTXt, which is UTF-8.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, given in {**chunks, "software": _SOFTWARE}.items():
        text = redact(given)
        if text.isascii():
            info.add_text(key, text)
        else:
            info.add_itxt(key, text)
    return pack(image, info)


def pack(image: "Image", info: "PngInfo | None" = None) -> bytes:
    """`image` as a PNG file: of 512 px in a fifth of the time that Pillow's own choice takes, with 3.5 % more bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=info, compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def save(image: "Image", path: Path, chunks: Mapping[str, str]) -> None:
    """Write `encode(image, chunks)` to `path`, whole or not at all.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    write_bytes(path, encode(image, chunks))


def is_png(path: Path) -> bool:
    """Whether `path` is a file that starts as a PNG does."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def read(path: Path) -> dict[str, str]:
    """The texts in a PNG file, in its order; of a broken file, those before the break.

    A text over 1 MiB, or packed so that it would grow beyond that, is left out; so is one whose checksum fails.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    texts: dict[str, str] = {}
    total = 0
    with faults(path, "read"), path.open("rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            return {}
        for kind, body in _text_chunks(file):
            found = _text(kind, body)
            if found is not None and total + len(found[1]) <= _MOST_TOTAL:
                total += len(found[1])
                texts.setdefault(*found)
    return texts


def _text_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > _MOST:
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body, checksum = file.read(length), file.read(4)
        if len(body) == length and checksum == struct.pack(">I", zlib.crc32(kind + body)):
            yield kind, body


def _text(kind: bytes, body: bytes) -> tuple[str, str] | None:
    """Keyword and text of one chunk, None where it is malformed."""
    keyword, _, rest = body.partition(b"\0")
    packed, coding = kind == b"zTXt", "latin-1"
    if packed:
        rest = rest[1:]  # the method: 0 is the only one
    elif kind == b"iTXt":
        if len(rest) < 2:
            return None
        packed, coding = rest[0] == 1, "utf-8"
        _language, _, rest = rest[2:].partition(b"\0")
        _translated, _, rest = rest.partition(b"\0")
    try:
        return keyword.decode("latin-1"), (_unpacked(rest) if packed else rest).decode(coding)
    except (ValueError, zlib.error):
        return None


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MOST)
    if not unpacker.eof:
        raise ValueError("too long, or cut short")
    return text
