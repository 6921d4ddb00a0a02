"""How text from outside (recipes, file names, captions, hub answers) is shown."""

import unicodedata

from runner.secrets import redact

_HIDDEN = {
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Cn",
    "Zl",
    "Zp",
}  # control, format (bidi), surrogate, private, unassigned, separators
_JOINERS = {"\u200d"}  # holds emoji together; harmless


def shown(text: object, limit: int = 200) -> str:
    """`text` as one printable line: secrets hidden, control and direction characters escaped, long text cut.

    Rich markup is not touched here: the display prints strings as plain text.
    """
    line = "".join(_escaped(c) for c in redact(str(text)))
    if len(line) <= limit:
        return line
    half = (limit - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def _escaped(c: str) -> str:
    if c in _JOINERS or unicodedata.category(c) not in _HIDDEN:
        return c
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
