"""From a file's bytes to an upright RGB picture, and from whatever can go wrong there to a reason in words."""

from __future__ import annotations

import errno
import os
import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from runner.data.room import Room
from runner.errors import DataError, EnvironmentFault, RecipeError
from runner.shown import shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats read. No other decoder of pillow is ever tried: its EPS one starts a program."""

Image.init()  # registers them all
# Above any mmap threshold of glibc: what a large picture held goes back to the machine at once.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]

MAX_PIXELS = 178_956_970
"""Pictures that declare more are refused before their pixels are decoded: pillow's own limit for an error."""

ROOM = Room(MAX_PIXELS)
"""What all threads of a process have in work. A pixel takes up to 17 bytes meanwhile (WebP, 32-bit grey): 3 GiB."""

_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET}

NAMED = 10  # broken pictures named in a message

_BAND = 2**20  # pixels that are scaled at a time

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation, as PIL.ImageOps.exif_transpose

_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}

_NOT_OF_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # control characters

# pillow warns of sizes, EXIF and palettes on stderr; what matters of it is an error here
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadPicture(Exception):
    """A picture that cannot be used; the message says why, as words that follow its name."""


def opened(path: Path) -> BinaryIO:
    """The file's bytes, without waiting for a writer should a pipe have taken its place."""
    nonblocking = getattr(os, "O_NONBLOCK", 0)  # not on Windows, which has no such files either
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | nonblocking))


def open_picture(file: BinaryIO) -> Image.Image:
    """Decode the first frame of `file`, in whatever mode it has; the file may be closed after.

    Raises:
        BadPicture, or whatever pillow raises on a broken file.
    """
    head = file.read(64)
    file.seek(0)
    if not head:
        raise BadPicture("is empty (0 bytes)")
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise BadPicture(_unknown(head)) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPicture(f"declares {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read")
    ROOM.take(width * height)
    image.load()
    return image


def to_rgb(image: Image.Image, background: str) -> Image.Image:
    """`image` as an upright RGB picture of 8 bits.

    EXIF orientation is applied. Alpha and palette transparency lie on `background` (#rrggbb). Grey of 16 bits is
    scaled by 255 / 65535; integers and floats of 32 bits as `_eight_bits` says. CMYK, LAB, YCbCr and HSV become RGB
    by pillow's own formulas; embedded colour profiles are not applied.

    Raises:
        BadPicture, or whatever pillow raises.
    """
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGB", image.size, background)
        paper.paste(image, mask=image.getchannel("A"))
        image = paper
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def reason(error: Exception) -> str:
    """Why a picture could not be read: one line that follows its name."""
    if isinstance(error, BadPicture):
        return shown(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"declares more than the {MAX_PIXELS:,} pixels that are read"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, struct.error | IndexError | KeyError | TypeError | EOFError | AssertionError):
        return f"is damaged ({type(error).__name__}: {shown(error, 80)})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"is damaged ({shown(error, 120) or type(error).__name__})"


def blamed(name: str, error: Exception) -> str:
    """As `reason`, of what was raised while the picture `name` was read, if it is the picture's fault.

    Raises:
        RecipeError: it is one already. EnvironmentFault: it is the machine's.
    """
    if isinstance(error, RecipeError):
        raise error
    if isinstance(error, OSError) and error.errno in _MACHINE:
        raise EnvironmentFault(f"the machine could not read {shown(name)} ({error.strerror}): try again") from error
    return reason(error)


def skippable(skipped: Sequence[tuple[str, str]], found: int, on_error: str) -> str:
    """As `broken`, where a run goes on without them.

    Raises:
        DataError: `on_error` is 'stop'.
    """
    message = broken(skipped, found)
    if on_error == "stop":
        raise DataError(f"{message}: repair or remove them, or go on without them by data.on_error: skip")
    return message


def broken(skipped: Sequence[tuple[str, str]], found: int) -> str:
    """Which of `found` pictures cannot be used and why, the first ten named."""
    named = [f"{shown(name, 100)} {reason}" for name, reason in skipped[:NAMED]]
    if len(skipped) > NAMED:
        named.append(f"and {len(skipped) - NAMED} more")
    are = "picture cannot" if found == 1 else "pictures cannot"
    return f"{len(skipped)} of {found} {are} be used ({'; '.join(named)})"


def none_usable(skipped: Sequence[tuple[str, str]]) -> DataError:
    """All that were found are `skipped`."""
    problem = broken(skipped, len(skipped)) if skipped else "the data holds no picture"
    return DataError(f"{problem}: check data.id, or give pictures that can be read")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable EXIF beside good pixels: the picture stays as it lies
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled and never clipped.

    I;16: 0..65535 onto 0..255. I (32-bit integers): the same if all values lie in that range. F: 0..1 or 0..255 if all
    lie there. Values beyond are stretched from their own least and greatest onto 0..255.
    """
    width, height = image.size
    rows = max(1, _BAND // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    extremes = np.array([(values.min(), values.max()) for values in (_floats(image, band) for band in bands)])
    if not np.isfinite(extremes).all():
        raise BadPicture("has pixels that are not numbers (NaN or infinite)")
    low, high = float(extremes.min()), float(extremes.max())
    tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    scaled = Image.new("L", image.size)
    for band in bands:
        values = _floats(image, band)
        values = values * (255 / top) if top else (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))
        scaled.paste(Image.fromarray((values + 0.5).astype(np.uint8)), band)
    return scaled


def _floats(image: Image.Image, band: tuple[int, int, int, int]) -> NDArray[np.floating]:
    return np.asarray(image.crop(band)).astype(np.float32)


def _unknown(head: bytes) -> str:
    """What a file that begins so is; its bytes are not told, as they may be anyone's secrets."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the picture itself: fetch it with 'git lfs pull'"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return f"is damaged (a {kind} whose header cannot be read)"
    kind = ""
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        kind = " (it is a web page)"
    elif not _NOT_OF_TEXT.search(head):
        kind = " (it is text)"
    return f"cannot be read as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}{kind}"
