"""What `recipe schema` prints: the keys of the language, explained from the schemas."""

from __future__ import annotations

import difflib
import json
import shutil
import textwrap
from typing import Any

from runner.errors import UsageError
from runner.language import schemas
from runner.language.schemas import Place
from runner.language.sentences import wanted
from runner.language.unknown import alias
from runner.language.write import to_yaml
from runner.shown import shown

_WIDEST = 100
_NARROWEST = 40


def explain(key: str | None, format: str = "text") -> str:
    """A section or key of the language: what it means, what it takes, its default.

    Args:
        key: 'training', 'training.ema.decay', or a type of a section, 'data.folder'; None for the whole recipe.
        format: 'text' for people, 'json' for the schema's own fragments.

    Raises:
        UsageError: there is no such key.
    """
    places = _places(key)
    if format == "json":
        found = [p.schema for p in places]
        return json.dumps(found if len(found) > 1 else found[0], indent=2, ensure_ascii=False)
    keys = schemas.properties(places)
    if key is not None and not keys:
        return "\n".join([*_each_entry(key, places), *_inside(key, places)])
    lines = _paragraph(str(_merged(places)["description"]), "")
    if (absent := _merged(places).get("x-absent")) is not None:
        lines += _paragraph(f"Absent: {absent}.", "")
    if len(typed := _types(places)) > 1 and key is not None:
        return "\n".join([*lines, *_kinds(key, typed)])
    section = key.removesuffix(f".{next(iter(typed))}") if key and typed else key
    return "\n".join([*lines, *_keys(keys, f"{section}." if section else "")])


def _each_entry(key: str, places: list[Place]) -> list[str]:
    """One key; where not all types of its section have the same, once for each kind of it."""
    section, _, name = key.rpartition(".")
    typed = _types(_places(section)) if section and name != "type" else {}
    kinds: dict[str, list[str]] = {}  # the types by what they say of the key
    for kind, place in typed.items():
        found = schemas.properties([place]).get(name)
        if found:
            kinds.setdefault("\n".join(_entry(key, found)[1:]), []).append(kind)
    if len(typed) < 2 or [len(typed)] == [len(names) for names in kinds.values()]:
        return _entry(key, places)
    word = "model.type" if any("x-model" in place.schema for place in typed.values()) else "type"
    titles = [f"{key}, with {word}: {', '.join(names[:3])}{' …' if names[3:] else ''}" for names in kinds.values()]
    return "\n\n".join(map("\n".join, zip(titles, kinds, strict=True))).split("\n")


def _inside(key: str, places: list[Place]) -> list[str]:
    """What each entry of a list of mappings holds."""
    entries = schemas.branches(schemas.items(places))
    typed = _types(entries)
    if len(typed) > 1:
        return ["", "Each entry:", *_kinds(key, typed)]
    keys = schemas.properties(entries)
    return ["", f"Each entry of {key}:", *_keys(keys, "- ")] if keys else []


def _kinds(key: str, typed: dict[str, Place]) -> list[str]:
    """The types of a section, with their keys by name."""
    lines = []
    for name, place in typed.items():
        keys = [k for k in place.schema["properties"] if k != "type"]
        lines += [
            "",
            f"with model.type: {name}" if "x-model" in place.schema else f"type: {name}",
            *_paragraph(place.schema["description"], "    "),
        ]
        lines += _paragraph(f"keys: {', '.join(keys)}", "    ")
    return [*lines, "", f"Each type's keys explained: recipe schema {key}.{list(typed)[-1]}"]


def _keys(keys: dict[str, list[Place]], prefix: str) -> list[str]:
    lines = []
    for key, places in keys.items():
        whole = schemas.branches(places)
        if schemas.properties(whole):
            description = str(_merged(whole)["description"])
            lines += ["", f"{prefix}{key}", *_paragraph(description, "    "), f"    recipe schema {prefix}{key}"]
        else:
            lines += ["", *_entry(prefix + key, places)]
    return lines


def _entry(name: str, places: list[Place]) -> list[str]:
    """One key: name, meaning, values, default, other names."""
    schema = _merged(places)
    lines = [
        name,
        *_paragraph(str(schema["description"]), "    "),
        *_paragraph(_values(schema, schemas.items(places)), "    "),
    ]
    if "x-aliases" in schema:
        lines += _paragraph(f"elsewhere called {', '.join(schema['x-aliases'])}", "    ")
    return lines


def _values(schema: dict[str, Any], entries: list[Place]) -> str:
    text = wanted(schema)
    if entries:
        text = text.replace("a list", f"a list (each entry {wanted(_merged(entries))})")
    if "default" in schema:
        return f"{text}; default {to_yaml({'v': schema['default']}, header=False).strip().removeprefix('v: ')}"
    return f"{text}; absent: {schema['x-absent']}" if "x-absent" in schema else f"{text}; required"


def _merged(places: list[Place]) -> dict[str, Any]:
    """The schemas of one key as one; what the first says stands."""
    return {name: value for place in reversed(places) for name, value in place.schema.items()}


def _types(places: list[Place]) -> dict[str, Place]:
    """The fragments of a section's types by name."""
    found: dict[str, Place] = {}
    for place in places:
        values = place.schema.get("properties", {}).get("type", {}).get("enum", [])
        values = [place.schema["x-model"]] if "x-model" in place.schema else values
        if len(values) == 1:
            found.setdefault(values[0], place)
    return found


def _places(key: str | None) -> list[Place]:
    places = schemas.branches([schemas.root()])
    done: list[str] = []
    for step in key.split(".") if key else []:
        keys, typed = schemas.properties(places), _types(places)
        if not keys and (entries := schemas.branches(schemas.items(places))):
            if step.isdigit():
                places = entries
                done.append(step)
                continue
            keys, typed = schemas.properties(entries), _types(entries)
        if step in keys:
            places = schemas.branches(keys[step])
        elif step in typed:
            places = [typed[step]]
        else:
            raise UsageError(
                f"the language has no key '{shown('.'.join([*done, step]), 80)}': {_hint(done, step, places)}"
            )
        done.append(step)
    return places


def _hint(done: list[str], step: str, places: list[Place]) -> str:
    keys = schemas.properties(places)
    close = difflib.get_close_matches(step, keys, n=1, cutoff=0.5)
    found = alias(keys, step, None) or (close[0] if close else None)
    if found:
        return f"did you mean {'.'.join([*done, found])}?"
    return f"there are {', '.join(keys)}" if keys else f"{'.'.join(done)} has no keys"


def _paragraph(text: str, indent: str) -> list[str]:
    """Lines as wide as the terminal, but no wider than is good to read."""
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns))
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
