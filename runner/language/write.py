"""A recipe's values as YAML that any reader, of YAML 1.1 or 1.2, reads back as the same values."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from runner import __version__
from runner.language.scalars import scalar
from runner.shown import shown

WIDTH = 100  # lists of scalars that fit are written in brackets on one line
# Letters that need no quotes: no YAML punctuation, and no start that reads as a number or a date.
_PLAIN = re.compile(r"[A-Za-z_./~][\w./~+-]*(?: [\w./~+-]+)*", re.ASCII)
# Words that YAML 1.1 reads as booleans.
_OLD_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"}


def to_yaml(values: dict[str, Any], header: bool) -> str:
    """The values as YAML.

    Args:
        values: dicts, lists, strings, numbers, booleans and None; keys are plain words.
        header: whether a comment on the first line says what this is.
    """
    first = [f"# Every key of the recipe with its value, defaults filled in by recipe {__version__}."] if header else []
    return "\n".join([*first, *_mapping(values, "")]) + "\n"


def _mapping(values: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        name = f"{indent}{_text(key)}:"
        inline = _inline(value)
        if inline is not None and (not isinstance(value, list) or len(name) + 1 + len(inline) <= WIDTH):
            lines.append(f"{name} {inline}")
        elif isinstance(value, dict):
            lines += [name, *_mapping(value, indent + "  ")]
        else:
            lines += [name, *_items(value, indent + "  ")]
    return lines


def _items(values: list[Any], indent: str) -> list[str]:
    lines = []
    for value in values:
        inline = _inline(value)
        if inline is not None:
            lines.append(f"{indent}- {inline}")
        else:
            inner = _mapping(value, indent + "  ") if isinstance(value, dict) else _items(value, indent + "  ")
            lines += [f"{indent}- {inner[0].lstrip()}", *inner[1:]]
    return lines


def _inline(value: Any) -> str | None:
    """The value on one line; None for what needs several: mappings, and lists that hold more than scalars."""
    if isinstance(value, dict):
        return None if value else "{}"
    if isinstance(value, list):
        parts = [None if isinstance(item, dict | list) else _inline(item) for item in value]
        return None if None in parts else f"[{', '.join(str(part) for part in parts)}]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value)


def _float(value: float) -> str:
    """The shortest text of the number that YAML 1.1 takes for one too: it wants a dot before the exponent."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    if not e:
        return mantissa
    dot = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{dot}e{exponent[0]}{exponent[1:].lstrip('0')}"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _OLD_WORDS and isinstance(scalar(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if shown(c) == c else _escape(c) for c in quoted)


def _escape(c: str) -> str:
    """A hidden character as YAML's and JSON's escape."""
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
