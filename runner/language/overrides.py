"""The command line's `key=value` arguments, laid over a recipe."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from runner.errors import UsageError
from runner.language import schemas
from runner.language.document import Document, Mark, Node, Source, Steps, dotted
from runner.language.load import read_value
from runner.language.problems import COMMAND_LINE
from runner.shown import shown

_STEP = re.compile(r"[A-Za-z0-9_-]+")


def apply(document: Document, arguments: list[str]) -> Document:
    """A copy of the document with each `a.b.c=value` set, in turn.

    The value is read as YAML. `key=` is null. Missing sections are made; a number steps into a list, where the first
    number past its end adds an entry. A value that begins with '#' is text, not a comment. Null takes away what may be
    absent: `training.ema=null` is the recipe without averaging. Where a `type` changes, the file's keys that the new
    type does not have are dropped, and the document's notices say so.

    Raises:
        UsageError: an argument is no `key=value`. Problems with values are in the document.
    """
    document = document.copy()
    for number, argument in enumerate(arguments, 1):
        _apply_one(document, argument, number)
    return document


def _apply_one(document: Document, argument: str, number: int) -> None:
    name, equals, value = argument.partition("=")
    steps = name.split(".")
    if not equals or not all(_STEP.fullmatch(step) for step in steps):
        raise UsageError(f"'{shown(argument, 80)}' is no key=value: write it as training.batch_size=8")
    pad = " " * (len(name) + 1)
    value = value.replace("\n", "\n" + pad)
    source = Source.of(COMMAND_LINE, f"{name}={value}", number)
    path: Steps = tuple(int(step) if step.isdigit() else step for step in steps)
    marks = _marks(source, steps)
    node = _value(document, source, pad + value, path, marks[-1])
    if node is None or document.root is None:
        return
    if node.value is None and _may_be_absent(document, path):
        document.root = _without(document.root, path)
        return
    before = document.node(path)
    document.root = _with(document, document.root, path, node, marks, ())
    if path[-1] == "type" and before is not None and before.value != node.value:
        # The model's type also says which keys sampling and scheduler have.
        for section in [path[:-1], *([("scheduler",), ("sampling",)] if path[0] == "model" else [])]:
            _drop_foreign_keys(document, section, before.value, argument)


def _marks(source: Source, steps: list[str]) -> list[Mark]:
    """Where each step of the key stands in the argument."""
    marks, column = [], 0
    for step in steps:
        marks.append(source.mark(0, column, 0, column + len(step)))
        column += len(step) + 1
    return marks


def _value(document: Document, source: Source, text: str, path: Steps, key: Mark) -> Node | None:
    start = len(text) - len(text.lstrip(" "))
    if text[start:].startswith("#"):
        return Node(text[start:], source.mark(0, start, 0, len(text)), key)
    if not text.strip():
        return Node(None, key, key)
    before = len(document.problems)
    node = read_value(document, source, text, path, key)
    if node is None and len(document.problems) == before:
        return Node(None, key, key, text.strip())
    if node is None:
        document.holes.add(path)
    return node


def _with(document: Document, node: Node, path: Steps, new: Node, marks: list[Mark], above: Steps) -> Node:
    """A copy of the tree with one node set."""
    step, rest = path[0], path[1:]
    here = (*above, step)
    if isinstance(node.value, list) and isinstance(step, int) and step <= len(node.value):
        child = node.child(step)
        inner = _with(document, child or Node({}, marks[0]), rest, new, marks[1:], here) if rest else new
        return replace(node, value=[*node.value[:step], inner, *node.value[step + 1 :]])
    if not isinstance(node.value, dict):
        what = f"has {len(node.value)} entries" if isinstance(node.value, list) else "is not a mapping"
        document.report(marks[0], "override", f"{dotted(above)} {what}: there is no {dotted(here)} to set", here)
        return node
    name = str(step)
    child = node.value.get(name)
    if rest and (child is None or child.value is None):
        child = Node([] if rest[0] == 0 else {}, marks[0], marks[0])
    inner = _with(document, child, rest, new, marks[1:], here) if rest and child is not None else new
    return replace(node, value={**node.value, name: inner})


def _without(node: Node, path: Steps) -> Node:
    """A copy of the tree with one key or entry taken away."""
    step, child = path[0], node.child(path[0])
    if child is None:
        return node
    kept = [] if len(path) == 1 else [_without(child, path[1:])]
    if isinstance(node.value, list) and isinstance(step, int):
        return replace(node, value=[*node.value[:step], *kept, *node.value[step + 1 :]])
    value = {k: kept[0] if k == step else v for k, v in node.value.items() if k != step or kept}
    return replace(node, value=value)


def _may_be_absent(document: Document, path: Steps) -> bool:
    """Whether null can only mean 'take it away': a key without default, or a section, that takes no null."""
    data = document.data
    places = schemas.branches(schemas.places_of(path, data))
    if not places or "null" in schemas.types(places):
        return False
    parent = schemas.places_of(path[:-1], data)
    if any(path[-1] in place.schema.get("required", []) for place in parent):
        return False
    is_section = any("properties" in place.schema for place in places)
    return is_section or any("x-absent" in place.schema for place in places)


def _drop_foreign_keys(document: Document, section: Steps, old: Any, argument: str) -> None:
    """Drop the file's keys that a section's new type does not have."""
    node = document.node(section)
    known = schemas.properties(schemas.places_of(section, document.data))
    if node is None or document.root is None or len(known) <= 1 or not isinstance(node.value, dict):
        return
    foreign = [
        key
        for key, child in node.value.items()
        if key not in known and not (child.key is not None and child.key.source.is_command_line)
    ]
    for key in foreign:
        document.root = _without(document.root, (*section, key))
    if foreign:
        names = ", ".join(dotted((*section, key)) for key in foreign)
        document.notices.append(f"{shown(argument, 80)} drops {names}, which only type {shown(old, 40)} has")
