"""Keys that the language does not have: what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from runner.language import schemas
from runner.language.document import Document, Steps, dotted
from runner.language.meant import sampler_meant
from runner.language.schemas import Place
from runner.language.sentences import Finding
from runner.shown import shown

MOST_UNKNOWN = 20  # of one mapping; the rest is only counted
_FEW = 8  # so many keys are listed where nothing better can be said
_CLOSE, _CLOSER = 0.6, 0.8


def unknown_key(document: Document, data: Any, path: Steps, key: str) -> Finding:
    """The finding for a key that the mapping at `path` does not have."""
    inner = (*path, key)
    refused = schemas.root().schema["x-refused"]
    if (reason := refused.get(key.lower())) is not None:
        return Finding(inner, "refused", f"'{shown(key, 60)}' is refused: {reason}", at_key=True)
    where = f" in {dotted(path)}" if path else ""
    on_command_line = document.mark(inner, key=True).source.is_command_line
    mend = _mend(path, key, data, _value(data, inner), on_command_line)
    return Finding(inner, "unknown-key", f"unknown key '{shown(key, 60)}'{where}{mend}", at_key=True)


def could_be(path: Steps, key: str, data: Any) -> Iterator[Steps]:
    """What an unknown key may have been meant for: keys that its mapping lacks, and its namesakes elsewhere."""
    written = _value(data, path)
    for name in schemas.properties(schemas.places_of(path, data)):
        if not isinstance(written, dict) or name not in written:
            yield (*path, name)
    for section, keys in _keys_of_sections():
        namesake = key if key in keys else alias(keys, key, None)
        if namesake is not None:
            # Any entry of a list may be meant, so the whole list is.
            yield section[: section.index(0)] if 0 in section else (*section, namesake)


@cache
def _keys_of_sections() -> tuple[tuple[Steps, dict[str, list[Place]]], ...]:
    """The language's sections, walked once: a recipe may have hundreds of unknown keys."""
    return tuple((section, schemas.properties(places)) for section, places in schemas.sections())


def _mend(path: Steps, key: str, data: Any, value: Any, on_command_line: bool) -> str:
    keys = schemas.properties(schemas.places_of(path, data))
    known, glued, _ = key.partition(":")
    if glued and (known in keys or value is None):
        return f": did you miss a space after '{shown(known, 60)}:'?"
    if found := alias(keys, key, value) or _same_letters(keys, key):
        if "object" in schemas.types(keys[found]) and not isinstance(value, dict):
            if found == "scheduler" and isinstance(value, str) and (sampler := sampler_meant(value)):
                return f": did you mean '{_full(path, found, on_command_line)}: {sampler.keys}'?"
            return f": did you mean the section '{found}:'?"
        return f": did you mean '{_full(path, found, on_command_line)}'?"
    if path and (nested := _nested_alias(keys, key)):
        return f": write '{nested[0]}: {{{nested[1]}: …}}'"
    if other := _other_type(path, key, data):
        return other
    if close := _closest(key, list(keys), _CLOSER):
        return f": did you mean '{_full(path, close, on_command_line)}'?"
    if elsewhere := _elsewhere(path, key, on_command_line):
        return elsewhere
    if close := _closest(key, list(keys), _CLOSE):
        return f": did you mean '{_full(path, close, on_command_line)}'?"
    if len(keys) <= _FEW:
        return f": it has {', '.join(keys)}"
    return f": 'recipe schema{' ' + dotted(path) if path else ''}' lists the keys"


def _full(path: Steps, key: str, on_command_line: bool) -> str:
    return _argument((*path, key)) if on_command_line else key


def alias(keys: dict[str, list[Place]], key: str, value: Any) -> str | None:
    """The key that peers call by this name."""
    for name, places in keys.items():
        fits = not isinstance(value, dict) or "object" in schemas.types(places)
        if fits and key.lower() in [a.lower() for a in schemas.annotation(places, "x-aliases") or []]:
            return name
    return None


def _same_letters(keys: dict[str, list[Place]], key: str) -> str | None:
    letters = key.lower().replace("-", "_").replace(" ", "_")
    return next((name for name in keys if name.lower() == letters), None)


def _nested_alias(keys: dict[str, list[Place]], key: str) -> tuple[str, str] | None:
    """'ema_decay' in training is 'ema: {decay: …}'."""
    for group, places in keys.items():
        inner = schemas.properties(schemas.branches(places))
        if inner and (name := alias(inner, key, None)):
            return group, name
    return None


def _other_type(path: Steps, key: str, data: Any) -> str | None:
    """The key of a section's other type, or of the section where the model has another type."""
    value = _value(data, path)
    given = value.get("type") if isinstance(value, dict) else None
    if given is None:
        return _other_model(path, key, data)
    having = []
    for place in schemas.branches(schemas.places_of(path, data)):
        constants = place.schema.get("properties", {}).get("type", {}).get("enum", [])
        if len(constants) == 1 and key in place.schema["properties"]:
            having.append(constants[0])
    if not having:
        return None
    names = " and ".join(having) if len(having) < 3 else f"{', '.join(having[:3])} …"
    return f": it is a key of type {names}, and this is {shown(given, 60)}"


def _other_model(path: Steps, key: str, data: Any) -> str | None:
    """The key that a section of the recipe has with another `model.type`."""
    given = _value(data, ("model", "type"))
    heads = schemas.properties(schemas.branches([schemas.root()]))["model"]
    for kind in schemas.annotation(schemas.properties(heads)["type"], "enum"):
        keys = schemas.properties(schemas.places_of(path, {**data, "model": {"type": kind}}))
        name = key if key in keys else alias(keys, key, None)
        if name is not None and kind != given:
            known = "it is" if name == key else f"'{name}' is"
            return f": {known} a key of type {kind}, and this model is {shown(given, 60)}"
    return None


def _elsewhere(path: Steps, key: str, on_command_line: bool) -> str | None:
    exact, aliased = [], []
    for section, keys in _keys_of_sections():
        if section == path:
            continue
        if key in keys:
            exact.append(section)
        elif name := alias(keys, key, None):
            aliased.append((*section, name))
    if len(path) > 1 and (near := [place for place in (*exact, *aliased) if place[:1] == path[:1]]):
        exact, aliased = [s for s in exact if s in near], [a for a in aliased if a in near]
    least = min((_depth(s) for s in exact), default=0)
    exact = [s for s in exact if _depth(s) == least]
    if 0 < len(exact) <= 3 and on_command_line:
        return f": did you mean {_either([_argument((*s, key)) for s in exact])}?"
    if 0 < len(exact) <= 3:
        return f": it belongs {_either([_under(s) for s in exact])}"
    if not exact and 0 < len(aliased) <= 2:
        written = _argument if on_command_line else dotted
        return f": did you mean {_either([written(a) for a in aliased])}?"
    return None


def _depth(section: Steps) -> int:
    return sum(isinstance(step, str) for step in section)


def _under(section: Steps) -> str:
    if 0 in section:
        return f"in an entry of '{dotted(section[: section.index(0)])}:'"
    return f"under '{dotted(section)}:'" if section else "at the top, not indented"


def _argument(path: Steps) -> str:
    """A key as an argument of the command line names it: 'model.loras.0.weight'."""
    return ".".join(map(str, path))


def _either(options: list[str]) -> str:
    return " or ".join(options)


def _closest(key: str, keys: list[str], cutoff: float) -> str | None:
    close = difflib.get_close_matches(key.lower()[:80], keys, n=1, cutoff=cutoff)
    return close[0] if close else None


def _value(data: Any, path: Steps) -> Any:
    for step in path:
        data = schemas.child(data, step)
    return data
