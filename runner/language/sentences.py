"""What a value that does not fit its schema is told: what is wanted, what was got, and the mend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jsonschema import ValidationError

from runner.language import schemas
from runner.language.document import Document, Node, Steps, dotted
from runner.language.meant import inline, meant
from runner.language.problems import Severity
from runner.language.scalars import scalar
from runner.shown import shown

_BOOLEANS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "1": "true",
    "no": "false",
    "off": "false",
    "n": "false",
    "0": "false",
}
_SUFFIXES = {"k": 10**3, "m": 10**6}
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
        message = _enum(dotted(path), schema, value)
    elif keyword in ("minimum", "maximum"):
        message = f"{dotted(path)} must be {wanted(schema, exact=keyword == 'maximum')} (got {got(node)})"
    elif keyword == "pattern":
        mend = _pattern_mend(path, node, schema, value)
        message = f"{dotted(path)} must be {wanted(schema)} (got {got(node)})" + _then(mend)
    else:
        message = f"{dotted(path)} must be {wanted(schema)} (got {got(node)})" + _then(_mend(data, path, node, schema))
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


def _enum(name: str, schema: dict[str, Any], value: Any) -> str:
    choices = [str(c) for c in schema["enum"]]
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
    return f"{name} must be {options} (got '{shown(value, 60)}')" + _then(mend)


def _pattern_mend(path: Steps, node: Node | None, schema: dict[str, Any], value: str) -> str:
    """The value made to fit, where a few letters are all that is in the way."""
    if "boolean" in schema["type"] and node is not None:
        return _mend_boolean(node)
    if "array" in schema["type"]:
        return f"write a list: {inline({str(path[-1]): [shown(value, 60)]})[1:-1]}"
    if ("integer" in schema["type"] or "number" in schema["type"]) and node is not None:
        return _mend_number(node, whole="integer" in schema["type"])
    tame = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip("-._")[:64]
    return f"'{tame}' would do" if tame and re.fullmatch(schema["pattern"], tame) else str(schema.get("x-mend", ""))


def _mend(data: Any, path: Steps, node: Node | None, schema: dict[str, Any]) -> str:
    """How to get from the value to one of the wanted type; '' if there is nothing to say."""
    if node is None:
        return ""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    value = node.value
    if value is None:
        without = schema.get("x-mend") if node.raw and "boolean" in types else None
        return str(without) if without else _mend_nothing(data, node, path, types)
    if "boolean" in types:
        return _mend_boolean(node)
    if ("integer" in types or "number" in types) and isinstance(value, str):
        return _mend_number(node, whole="integer" in types)
    if "array" in types and not isinstance(value, dict | list):
        return f"write [{shown(node.raw or value, 60)}]"
    if "object" in types and not isinstance(value, dict):
        return _mend_section(node, path, data)
    if "string" in types and not isinstance(value, dict | list):
        return f'write "{shown(node.raw, 60)}" in quotes'
    if "string" in types and isinstance(value, dict):
        return "put text with ': ' or braces in quotes"
    if isinstance(value, list) and len(value) == 1 and "array" not in types:
        return "write the value without brackets"
    return ""


def _mend_nothing(data: Any, node: Node, path: Steps, types: list[str]) -> str:
    rest = node.mark.text[node.mark.column - 1 + node.mark.length :].lstrip(": \t")
    if "string" in types and rest.startswith("#"):
        return f"'#' starts a comment: write \"{shown(rest.split()[0], 40)}\" in quotes"
    if "object" in types:
        return f"indent its keys below it, or remove the line; '{path[-1]}: {{}}' takes the defaults"
    parent = schemas.places_of(path[:-1], data)
    if any(path[-1] in place.schema.get("required", []) for place in parent):
        return "give a value"
    return (
        "give a value or remove it" if isinstance(path[-1], int) else "give a value, or remove the line for the default"
    )


def _mend_boolean(node: Node) -> str:
    word = str(node.raw or node.value).lower()
    if word in ("true", "false"):
        return "remove the quotes"
    if word in _BOOLEANS:
        is_text = f"'{shown(node.raw)}' is text in YAML 1.2: " if isinstance(node.value, str) and node.raw else ""
        return f"{is_text}write {_BOOLEANS[word]}"
    return ""


def _mend_number(node: Node, whole: bool) -> str:
    text = str(node.value).strip()
    number = scalar(text)
    if not node.raw and isinstance(number, int | float) and not isinstance(number, bool):
        return "remove the quotes"
    plain = re.sub(r"(?<=\d)[_,' ](?=\d)", "", text)
    factor: float = 1
    if plain and plain[-1].lower() in _SUFFIXES:
        plain, factor = plain[:-1], _SUFFIXES[plain[-1].lower()]
    elif plain.endswith("%"):
        plain, factor = plain[:-1], 0.01
    number = scalar(plain)
    if isinstance(number, bool) or not isinstance(number, int | float) or plain == text:
        return ""
    product = round(number * factor, 12)
    return f"write {int(product) if whole or isinstance(number * factor, int) else product}"


def _mend_section(node: Node, path: Steps, data: Any) -> str:
    if isinstance(node.value, list):
        return "write 'key: value' lines without '-'"
    places = schemas.branches(schemas.places_of(path, data))
    kinds = [p.schema for p in schemas.properties(places).get("type", [])]
    kind = next((k for k in kinds if len(k["enum"]) > 1), {"enum": [c for k in kinds for c in k["enum"]]})
    key = "" if isinstance(path[-1], int) else f"{path[-1]}: "
    if isinstance(node.value, str) and (guess := meant(node.value, kind)):
        return ("" if guess.equal else "it has no equal here; the nearest: ") + f"write '{key}{guess.keys}'"
    if isinstance(node.value, str) and ":" in node.value:
        return "did you miss a space after ':'?"
    if isinstance(node.value, str) and kinds and "x-mend" in kinds[0]:
        return str(kinds[0]["x-mend"])
    if node.value is True:
        return f"write '{path[-1]}: {{}}' for the defaults"
    if node.value is False:
        return "remove the line to go without"
    return "indent its keys below it"
