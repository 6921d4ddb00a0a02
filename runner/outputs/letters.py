"""The letters that a sheet's font has: Pillow's own, which draws a box for any other."""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import ImageFont

_DASHES = str.maketrans("‐‑‒–—―−×", "-------x")
_NO_CHARACTER = "\U0010ffff"
_SIZE = 32


def legible(text: str) -> str | None:
    """`text` in letters that can be drawn, on one line: accents left out, dashes plain. None where they are not enough.

    Japanese, Arabic, Cyrillic or an emoji, for one, cannot be drawn.
    """
    line = " ".join(text.translate(_DASHES).split())
    whole = "".join(c if _has(c) else unicodedata.normalize("NFKD", c) for c in line)
    plain = "".join(c for c in whole if not unicodedata.combining(c))
    return plain if all(map(_has, plain)) else None


@cache
def _has(character: str) -> bool:
    return character == " " or _drawn(character) != _drawn(_NO_CHARACTER)


@cache
def _drawn(character: str) -> tuple[tuple[int, int], bytes]:
    mask = ImageFont.load_default(_SIZE).getmask(character)
    return mask.size, bytes(mask)
