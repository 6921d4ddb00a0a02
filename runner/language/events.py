"""Nodes from the YAML parser's events.

Nothing is built from a tag, an alias or a merge key: each is reported and leaves a hole. So are anchors, without one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

from runner.language.document import Document, Mark, Node, Source, Steps, dotted
from runner.language.scalars import scalar
from runner.language.syntax import MOST_LEVELS, TOO_DEEP
from runner.shown import shown

MOST_VALUES = 20_000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and newline; half characters
_ODD_SPACE = re.compile(r"^[^\S \n]+|[^\S \n]+$")  # round a key; from a web page, say
_CORE_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in (
        "binary",
        "bool",
        "float",
        "int",
        "map",
        "merge",
        "null",
        "omap",
        "pairs",
        "seq",
        "set",
        "str",
        "timestamp",
    )
} | {"!", "tag:yaml.org,2002:value", "tag:yaml.org,2002:yaml"}


class Unreadable(Exception):
    """Reading on is of no use; the problem is reported."""


class NodeReader:
    """Builds Nodes from the parser's events, by recursive descent; the depth is bounded by MOST_LEVELS."""

    def __init__(self, document: Document, source: Source, loader: Any) -> None:
        self.document = document
        self.source = source
        self.next = loader.get_event
        self.values = 0
        self.aliases: set[str | None] = set()  # those that were reported

    def read(self, path: Steps, key: Mark | None) -> Node | None:
        """The stream's only document; None if it is empty."""
        self.next()  # stream start
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        event = self.next()
        node = self.value(event, path, key, 0)
        self.next()  # document end
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            mark = self.mark(event)
            self.document.report(mark, "documents", "a second document starts here: a recipe is one document", path)
        if not path and node is not None and node.value is None and not node.raw:
            return None
        return node

    def value(self, event: Any, path: Steps, key: Mark | None, level: int) -> Node | None:
        """The node that begins with this event; None where it cannot be taken (a hole)."""
        mark = self.mark(event)
        self.values += 1
        if self.values > MOST_VALUES:
            self.document.report(mark, "size", f"more than {MOST_VALUES} keys and values: no recipe may have so many")
            raise Unreadable
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.aliases:
                name = shown(event.anchor, 40)
                self.document.report(mark, "alias", f"aliases ('*{name}') are not allowed: write the value out", path)
            self.aliases.add(event.anchor)
            return None
        if event.anchor is not None:
            self.anchor(event, mark, path)
        refused = event.tag is not None and self.tag(event, mark, path)
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event, mark, path, key)
        elif level >= MOST_LEVELS:
            self.document.report(mark, "nesting", TOO_DEEP, path)
            raise Unreadable
        elif isinstance(event, yaml.MappingStartEvent):
            node = self.mapping(event, mark, path, key, level + 1)
        else:
            node = self.sequence(event, mark, path, key, level + 1)
        return None if refused else node

    def scalar(self, event: Any, mark: Mark, path: Steps, key: Mark | None) -> Node | None:
        text = event.value
        if not text.isprintable() and (bad := CONTROL.search(text)):
            place = f" in {shown(dotted(path), 100)}" if path else ""
            message = f"control character U+{ord(bad[0]):04X}{place} (shown as {shown(bad[0])}): remove it"
            self.document.report(mark, "control-character", message, path)
            return None
        if not event.implicit[0]:
            return Node(text, mark, key)
        empty = not text and key is not None
        return Node(scalar(text), key if empty and key else mark, key, text)

    def mapping(self, start: Any, mark: Mark, path: Steps, key: Mark | None, level: int) -> Node | None:
        entries: dict[str, Node] = {}
        whole = True
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            name = self.key(event, path, level)
            at = self.mark(event)
            inner = (*path, name) if name is not None else path
            node = self.value(self.next(), inner, at, level)
            if name is None:
                whole = False
            elif (first := entries.get(name)) is not None or inner in self.document.holes:
                self.twice(at, name, first, inner)
            elif node is None:
                self.document.holes.add(inner)
            else:
                entries[name] = node
        return Node(entries, self.span(start, event, mark, key), key) if whole or not path else None

    def sequence(self, start: Any, mark: Mark, path: Steps, key: Mark | None, level: int) -> Node | None:
        items: list[Node] = []
        whole = True
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            node = self.value(event, (*path, len(items)), None, level)
            whole = whole and node is not None
            items.append(node or Node(None, mark))
        return Node(items, self.span(start, event, mark, key), key) if whole else None

    def key(self, event: Any, path: Steps, level: int) -> str | None:
        """The key's text; None where it is no text, which is reported."""
        mark = self.mark(event)
        node = self.value(event, path, None, level)
        if node is None:
            return None
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        if isinstance(node.value, dict | list):
            self.document.report(mark, "key", _complex(node, mark), path)
            return None
        if not isinstance(node.value, str):
            written = shown(event.value, 40) or "null"
            self.document.report(mark, "key", f'keys must be text: write "{written}" in quotes, or another name', path)
            return None
        if mark.text[mark.column - 2 : mark.column - 1] == "?":  # libyaml would take it away in '{?x: 1}'
            message = f"'?{shown(node.value, 40)}' is no plain key: put text that starts with '?' in quotes"
            self.document.report(mark, "key", message, path)
            return None
        if plain and node.value == "<<":
            self.document.report(mark, "merge-key", "merge keys ('<<') are not allowed: write the keys out", path)
            return None
        if (odd := _ODD_SPACE.search(node.value)) is not None:
            at = Mark(mark.source, mark.line, mark.column + odd.start(), len(odd[0])) if plain else mark
            name = unicodedata.name(odd[0][0], "no plain space").lower()
            message = f"this space is U+{ord(odd[0][0]):04X} ({name}): use plain spaces"
            self.document.report(at, "indentation", message, path)
            return None
        return node.value

    def twice(self, mark: Mark, name: str, first: Node | None, path: Steps) -> None:
        where = ""
        if first is not None and first.key is not None:
            same = first.key.line == mark.line
            where = f" (first at column {first.key.column})" if same else f" (first at line {first.key.line})"
        self.document.report(mark, "duplicate-key", f"'{shown(name, 60)}' is given twice{where}", path)

    def anchor(self, event: Any, mark: Mark, path: Steps) -> None:
        """An anchor swallows a word of text that begins with '&'; without aliases it is of no other use."""
        at = Mark(mark.source, mark.line, mark.column, len(event.anchor) + 1)
        message = f"anchors ('&{shown(event.anchor, 40)}') are not allowed: remove it, or put text with '&' in quotes"
        self.document.report(at, "anchor", message, path)

    def tag(self, event: Any, mark: Mark, path: Steps) -> bool:
        rule = "tag" if event.tag in _CORE_TAGS else "foreign-tag"
        label = event.tag.removeprefix("tag:yaml.org,2002:")
        label = label if label.startswith("!") else f"!!{label}" if label != event.tag else f"!<{label}>"
        length = max(1, min(len(label), len(mark.text) - mark.column + 1))
        at = Mark(mark.source, mark.line, mark.column, length)
        message = f"tags ('{shown(label, 60)}') are not allowed: remove it, or put text with '!' in quotes"
        self.document.report(at, rule, message, path)
        return True

    def mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        return self.source.mark(start.line, start.column, end.line, end.column)

    def span(self, start: Any, end: Any, first: Mark, key: Mark | None) -> Mark:
        """A collection's place: from bracket to bracket, or the key of one that is written over lines."""
        if not start.flow_style:
            return key or first
        a, b = start.start_mark, end.end_mark
        return self.source.mark(a.line, a.column, b.line, b.column)


def _complex(node: Node, mark: Mark) -> str:
    before = mark.text[: mark.column - 1]
    if isinstance(node.value, dict) and before.endswith(("{", "${")):
        return "'{{…}}' is no variable, recipes hold none: write the value itself"
    starts = "'{' starts a mapping" if isinstance(node.value, dict) else "'[' starts a list"
    return f"{starts}, which cannot be a key: put text with braces or brackets in quotes"
