"""Defaults filled in from the schemas: after this, every key of a recipe that has a default is there."""

from __future__ import annotations

from typing import Any

from runner.language.document import Document
from runner.language.schemas import Place, annotation, fragments, items, properties, root, types


def resolve(document: Document) -> dict[str, Any]:
    """The recipe with every default filled in, in the schemas' order of keys.

    Whole numbers become ints (5.0 is 5) and other numbers floats, so that the same recipe is the same data.
    Keys that the schemas do not know stay as they are; `check` is who reports them.
    """
    filled: dict[str, Any] = fill([root()], document.data)
    return filled


def fill(places: list[Place], value: Any) -> Any:
    """A value with the defaults of these schemas."""
    places = fragments(places, value)
    if isinstance(value, dict):
        return _fill_mapping(places, value)
    if isinstance(value, list):
        entries = items(places)
        return [fill(entries, entry) for entry in value]
    return _number(value, types(places))


def _fill_mapping(places: list[Place], value: dict[str, Any]) -> dict[str, Any]:
    filled = {}
    for key, inner in properties(places).items():
        if key in value:
            filled[key] = fill(inner, value[key])
        elif any("default" in p.schema for p in inner):
            filled[key] = fill(inner, annotation(inner, "default"))
    return filled | {key: inner for key, inner in value.items() if key not in filled}


def _number(value: Any, wanted: set[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "integer" in wanted:
        return int(value) if isinstance(value, float) and value.is_integer() else value
    return float(value) if "number" in wanted and abs(value) < 1e300 else value
