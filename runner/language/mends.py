"""How to get from a value that does not fit its schema to one that does."""

from __future__ import annotations

import math
import re
from typing import Any

from runner.language import schemas
from runner.language.document import Node, Steps
from runner.language.meant import inline, meant, sampler_meant
from runner.language.scalars import scalar
from runner.language.schemas import Place
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


def mend_pattern(path: Steps, node: Node | None, schema: dict[str, Any], value: str) -> str:
    """The value made to fit, where a few letters are all that is in the way."""
    if schema["pattern"] == "^auto$" and meant(value, {"enum": ["auto"]}):
        return "did you mean 'auto'?"
    if "boolean" in schema["type"] and node is not None:
        return _mend_boolean(node)
    if "array" in schema["type"]:
        return f"write a list: {inline({str(path[-1]): [shown(value, 60)]})[1:-1]}"
    if ("integer" in schema["type"] or "number" in schema["type"]) and node is not None:
        return _mend_number(node, whole="integer" in schema["type"])
    tame = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip("-._")[:64]
    return f"'{tame}' would do" if tame and re.fullmatch(schema["pattern"], tame) else str(schema.get("x-mend", ""))


def mend_type(data: Any, path: Steps, node: Node | None, schema: dict[str, Any]) -> str:
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
    if "array" in types and not isinstance(value, list):
        return _mend_list(node, path, data)
    if "object" in types and not isinstance(value, dict):
        return _mend_section(node, path, data)
    if schema.get("pattern") == "^auto$" and "integer" in types and isinstance(value, float | bool):
        return _mend_fraction(value, schema)
    if "string" in types and not isinstance(value, dict | list):
        return f'write "{shown(node.raw, 60)}" in quotes'
    if "string" in types and isinstance(value, dict):
        return "put text with ': ' or braces in quotes"
    if isinstance(value, list) and len(value) == 1 and "array" not in types:
        return "write the value without brackets"
    return ""


def _mend_fraction(value: float, schema: dict[str, Any]) -> str:
    """The whole number next to it, where that would do."""
    if isinstance(value, bool) or not math.isfinite(value):
        return ""
    whole = round(value)
    return f"write {whole}" if schema.get("minimum", whole) <= whole <= schema.get("maximum", whole) else ""


def _mend_list(node: Node, path: Steps, data: Any) -> str:
    entries = schemas.branches(schemas.items(schemas.places_of(path, data)))
    if isinstance(node.value, dict):
        return "put '- ' before its first key" if schemas.properties(entries) else ""
    word = shown(node.raw or node.value, 60)
    keys = _keys_of(word, entries)
    return f"write [{keys or word}]"


def _keys_of(word: str, places: list[Place]) -> str:
    """The section of these places that a lone word stands for: '{id: owner/name}', '{type: DDIM}'; '' for none."""
    if ["id"] in [place.schema.get("required") for place in places]:
        return inline({"id": word})
    sampler = sampler_meant(word) if any(place.file.startswith("scheduler/") for place in places) else None
    return sampler.keys if sampler else ""


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
    if isinstance(node.value, str) and (section := _keys_of(shown(node.value, 60), places)):
        return f"write '{key}{section}'"
    if isinstance(node.value, str) and ":" in node.value:
        return "did you miss a space after ':'?"
    if isinstance(node.value, str) and kinds and "x-mend" in kinds[0]:
        return str(kinds[0]["x-mend"])
    if node.value is True:
        return f"write '{path[-1]}: {{}}' for the defaults"
    if node.value is False:
        return "remove the line to go without"
    return "indent its keys below it"
