"""A short walk over the schemas: which fragments hold for a value, and which keys they have.

The schemas keep to a few shapes (a test holds them to it): `properties`, `items`, a lone `$ref` to a file beside,
and `allOf` of `$ref`s and of `if`/`then` whose `if` asks for constants. Anything else the walk does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from runner.shipped_files import folder

ROOT = "recipe.json"
Schema = dict[str, Any]


class Place(NamedTuple):
    """A schema and the file it stands in, such as 'scheduler/sampler.json': what `$ref` is relative to."""

    file: str
    schema: Schema


@cache
def read(file: str) -> Schema:
    """A schema file by its path below `schemas/`."""
    schema: Schema = json.loads((folder("schemas") / file).read_text("utf-8"))
    return schema


def root() -> Place:
    """The schema of a whole recipe."""
    return Place(ROOT, read(ROOT))


def follow(place: Place) -> Place:
    """The schema that a `$ref` leads to; the place itself if it is none."""
    while (reference := place.schema.get("$ref")) is not None:
        file, _, pointer = reference.partition("#")
        file = _joined(place.file, file) if file else place.file
        schema = read(file)
        for part in pointer.strip("/").split("/") if pointer.strip("/") else []:
            schema = schema[part]
        place = Place(file, schema)
    return place


def fragments(places: list[Place], value: Any) -> list[Place]:
    """The schemas that hold for a value, general ones first: those given, and the branches of their `allOf`."""
    found = []
    for place in map(follow, places):
        found.append(place)
        for branch in place.schema.get("allOf", []):
            if "if" not in branch:
                found += fragments([Place(place.file, branch)], value)
            elif _holds(branch["if"], value):
                found += fragments([Place(place.file, branch["then"])], value)
    return found


def branches(places: list[Place]) -> list[Place]:
    """All fragments that could hold for some value."""
    found = []
    for place in map(follow, places):
        found.append(place)
        for branch in place.schema.get("allOf", []):
            found += branches([Place(place.file, branch.get("then", branch))])
    return found


def properties(places: list[Place]) -> dict[str, list[Place]]:
    """The keys of these fragments, in their order; a key that several hold has a schema in each."""
    keys: dict[str, list[Place]] = {}
    # A typed section's own fragment lists all its keys, 'type' first; the general one repeats only 'type'.
    for place in places:
        for key, schema in place.schema.get("properties", {}).items():
            keys.setdefault(key, []).append(follow(Place(place.file, schema)))
    return keys


def annotation(places: list[Place], name: str) -> Any:
    """What the most special of these schemas says under `name`; None if none does."""
    return next((p.schema[name] for p in reversed(places) if name in p.schema), None)


def places_of(path: tuple[str | int, ...], value: Any) -> list[Place]:
    """The schemas of the key at `path` in a recipe whose data is `value`; [] for a key there is not."""
    places = fragments([root()], value)
    for step in path:
        inner = properties(places).get(step, []) if isinstance(step, str) else items(places)
        value = child(value, step)
        places = fragments(inner, value)
    return places


def sections() -> Iterator[tuple[tuple[str | int, ...], list[Place]]]:
    """Every mapping of the language with its path and all its fragments, the recipe itself first.

    A list of mappings stands for itself with its first: ('model', 'loras', 0).
    """

    def walk(path: tuple[str | int, ...], places: list[Place]) -> Iterator[tuple[tuple[str | int, ...], list[Place]]]:
        yield path, places
        for key, inner in properties(places).items():
            whole = branches(inner)
            for step, found in (((key,), whole), ((key, 0), branches(items(whole)))):
                if any("properties" in p.schema for p in found):
                    yield from walk((*path, *step), found)

    yield from walk((), branches([root()]))


def types(schemas: list[Place]) -> set[str]:
    """The JSON types that a value may have by the most special of these schemas."""
    given = annotation(schemas, "type")
    return {given} if isinstance(given, str) else set(given or [])


def items(places: list[Place]) -> list[Place]:
    """The schemas of a list's entries."""
    return [follow(Place(p.file, p.schema["items"])) for p in places if "items" in p.schema]


def child(value: Any, step: str | int) -> Any:
    """What a mapping holds under a key, or a list at a place; None if it is not there."""
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _holds(condition: Schema, value: Any) -> bool:
    if "const" in condition:
        return bool(value == condition["const"])
    if not isinstance(value, dict) or any(key not in value for key in condition.get("required", [])):
        return False
    return all(key not in value or _holds(inner, value[key]) for key, inner in condition.get("properties", {}).items())


def _joined(base: str, reference: str) -> str:
    """A reference relative to the file it stands in: ('scheduler/DDIM.json', 'options.json')."""
    parts = base.split("/")[:-1]
    for part in reference.split("/"):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
