"""A model's words as a caption: one line, without control characters and without the loops of greedy decoding."""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction, halves of characters, separators
_JOINERS = {"\u200c", "\u200d"}  # hold emoji and letters of some scripts together; harmless
_HALF = "\ufffd"  # what a tokenizer makes of a character that was cut in the middle
_LOOP = re.compile(r"(?<!\S)(\S+(?: \S+){0,7}?)(?: \1){2,}(?!\S)")


def tidy(text: str) -> str:
    """`text` as a caption; '' where nothing is left.

    What hides or breaks lines becomes a space, white space is made single, and up to eight words that are said three
    times or more in a row are said once: "a red red red rose" is "a red rose", "very, very good" stays.
    """
    plain = "".join(" " if _hides(c) else c for c in text)
    return _LOOP.sub(r"\1", " ".join(plain.split()))


def _hides(c: str) -> bool:
    return c == _HALF or (unicodedata.category(c) in _HIDDEN and c not in _JOINERS)
