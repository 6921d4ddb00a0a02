"""A model's words as a caption: one line, without control characters and without the loops of greedy decoding."""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction, halves of characters, separators
_HALF = "\ufffd"  # what a tokenizer makes of a character that was cut in the middle
_LOOP = re.compile(r"(?<!\S)(\S+(?: \S+){0,7}?)(?: \1){2,}(?!\S)")


def tidy(text: str) -> str:
    """`text` as a caption; '' where nothing is left.

    What hides or breaks lines becomes a space, white space is made single, and up to eight words that are said three
    times or more in a row are said once: "a red red red rose" is "a red rose", "very, very good" stays.
    """
    plain = "".join(" " if unicodedata.category(c) in _HIDDEN or c == _HALF else c for c in text)
    return _LOOP.sub(r"\1", " ".join(plain.split()))
