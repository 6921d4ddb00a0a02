"""What a value that does not fit its schema is told: what is wanted, what was got, and the mend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.language.document import Document, Node, Steps, dotted
from runner.language.meant import meant
from runner.language.mends import mend_pattern, mend_type
from runner.language.problems import Severity
from runner.shown import shown

if TYPE_CHECKING:
    from jsonschema import ValidationError

_FEW = 6  # so many choices are listed beside a guess
_MANY = 10**6  # bounds from here on are there against nonsense, and not worth telling


@dataclass(frozen=True)
class Finding:
    """A problem before its place in the text is looked up.

    Attributes:
        keyword: the schema's keyword that failed; '' for anything else.
        at_key: whether the key is at fault rather than the value.
    """

    path: Steps
    rule: str
    message: str
    severity: Severity = "error"
    keyword: str = ""
    at_key: bool = False


def sentence(document: Document, data: Any, path: Steps, error: ValidationError) -> Finding:
    """The finding for a value that breaks one keyword of its schema."""
    node = document.node(path)
    schema: Any = error.schema
    value: Any = error.instance
    keyword = str(error.validator)
    rule = {"type": "type", "enum": "value", "pattern": "pattern"}.get(
        keyword, "length" if keyword in _LENGTHS else "range"
    )
    if isinstance(value, str) and "x-unsafe" in schema and re.search(schema["x-unsafe"], value):
        message = f"{dotted(path)}: '{shown(value, 60)}' is refused: {schema['x-unsafe-because']}"
        return Finding(path, "refused", message, keyword=keyword)
    if keyword in _LENGTHS:
        message = _length(dotted(path), keyword, error.validator_value, len(value))
    elif keyword == "enum":
        message = _enum(dotted(path), schema, value, got(node))
    elif keyword in ("minimum", "maximum"):
        message = f"{dotted(path)} must be {wanted(schema, exact=keyword == 'maximum')} (got {got(node)})"
    elif keyword == "pattern":
        mend = mend_pattern(path, node, schema, value)
        message = f"{dotted(path)} must be {wanted(schema)} (got {got(node)})" + _then(mend)
    else:
        message = f"{dotted(path)} must be {wanted(schema)} (got {got(node)})" + _then(
            mend_type(data, path, node, schema)
        )
    return Finding(path, rule, message, keyword=keyword)


def wanted(schema: dict[str, Any], exact: bool = False) -> str:
    """What a schema asks for, in words: 'a whole number from 1 to 65536 or null'.

    Args:
        schema: one that has `type`.
        exact: whether to tell bounds that are only there against nonsense.
    """
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}" if len(schema["enum"]) > 1 else str(schema["enum"][0])
    words = {
        "integer": "a whole number" + _bounds(schema, exact),
        "number": "a number" + _bounds(schema, exact),
        "boolean": "true or false" if len(types) == 1 else "true, false",
        "string": str(schema.get("x-pattern", "text")),
        "array": "a list",
        "object": "a section of 'key: value' lines",
        "null": "null",
    }
    parts = [words[t] for t in types]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def got(node: Node | None) -> str:
    """A value as it was written, in a few words."""
    if node is None:
        return "nothing"
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "null" if node.raw else "nothing"
    if isinstance(node.value, str):
        return f"'{shown(node.value, 60)}'"
    return shown(node.raw, 40)


_LENGTHS = {"minItems": "entry", "maxItems": "entry", "minLength": "character", "maxLength": "character"}


def _bounds(schema: dict[str, Any], exact: bool) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and (exact or abs(high) < _MANY):
        return f" from {low} to {high}"
    return f" >= {low}" if low is not None else f" <= {high}" if high is not None else ""


def _then(mend: str) -> str:
    return f": {mend}" if mend else ""


def _length(name: str, keyword: str, limit: Any, length: int) -> str:
    unit = _LENGTHS[keyword]
    units = unit if limit == 1 else "entries" if unit == "entry" else "characters"
    bound = "at least" if keyword.startswith("min") else "at most"
    return f"{name} must have {bound} {limit} {units} (has {length})"


def _enum(name: str, schema: dict[str, Any], value: Any, written: str) -> str:
    choices = [str(c) for c in schema["enum"]]
    if (elsewhere := schema.get("x-elsewhere", {}).get(str(value))) is not None:
        return f"{name} cannot be '{shown(value, 60)}': {elsewhere}"
    guess = meant(str(value), schema)
    if guess and not guess.exact and "x-mend" in schema:
        guess = None
    words = guess.value if guess and isinstance(guess.value, str) else guess.keys if guess else ""
    if guess and not guess.equal:
        return f"{name} cannot be '{shown(value, 60)}': it has no equal here; the nearest is '{words}'"
    if guess and len(choices) > _FEW:
        return f"{name} cannot be '{shown(value, 60)}': did you mean '{words}'?"
    options = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    mend = f"did you mean '{words}'?" if guess else str(schema.get("x-mend", ""))
    return f"{name} must be {options} (got {written})" + _then(mend)
