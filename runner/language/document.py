"""A recipe's data together with the place in the text of every key and value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.language.problems import COMMAND_LINE, Problem, Severity

Steps = tuple[str | int, ...]  # a place in a recipe: ('sampling', 'labels', 0)
MOST_PROBLEMS = 200  # more are not collected: nobody reads them

_BREAK = re.compile(r"\r\n|[\n\r]")


@dataclass(frozen=True, slots=True)
class Source:
    """A text that marks point into: a file, or one argument of the command line.

    Attributes:
        name: the file's name as given, or `COMMAND_LINE`.
        lines: the text's lines.
        first: the number of its first line; an argument's place among the overrides.
    """

    name: str
    lines: list[str]
    first: int = 1

    @classmethod
    def of(cls, name: str, text: str, first: int = 1) -> Source:
        return cls(name, _BREAK.split(text), first)

    @property
    def is_command_line(self) -> bool:
        return self.name == COMMAND_LINE

    def mark(self, line: int, column: int, end_line: int, end_column: int) -> Mark:
        """A mark from 0-based coordinates. One that goes on over the line's end is cut there."""
        line = min(line, len(self.lines) - 1)
        text = self.lines[line]
        column = min(column, len(text))
        end = end_column if end_line == line else len(text.rstrip())
        return Mark(self, line + self.first, column + 1, max(1, end - column))


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of one line: line and column counted from 1, length in characters."""

    source: Source
    line: int
    column: int
    length: int

    @property
    def text(self) -> str:
        """The whole line."""
        return self.source.lines[self.line - self.source.first]


@dataclass(slots=True)
class Node:
    """A value and its place.

    Attributes:
        value: a scalar, or a dict of Nodes, or a list of Nodes.
        mark: where the value stands.
        key: where its key stands, if it is a mapping's.
        raw: a plain scalar as it was written; '' for anything else.
    """

    value: Any
    mark: Mark
    key: Mark | None = None
    raw: str = ""

    def plain(self) -> Any:
        """The data without the places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            found: Node = self.value[step]
            return found
        return None

    def walk(self, path: Steps = ()) -> Iterator[tuple[Steps, Node]]:
        """Every node from here down, itself first, with its path."""
        yield path, self
        if isinstance(self.value, dict):
            for name, child in self.value.items():
                yield from child.walk((*path, name))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.walk((*path, index))


@dataclass
class Document:
    """A recipe as it was read.

    Attributes:
        source: its text.
        folder: what relative paths in it are relative to.
        root: its data; None if the text could not be read as YAML.
        problems: what was found in reading it.
        holes: places whose values could not be taken; they are not in `root`.
        notices: what was done that the user should know of.
    """

    source: Source
    folder: Path
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    holes: set[Steps] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)

    @property
    def data(self) -> Any:
        """Plain data: dicts, lists and scalars; {} if there are none."""
        return {} if self.root is None else self.root.plain()

    def node(self, path: Steps) -> Node | None:
        """The node at this path, if it was written."""
        node = self.root
        for step in path:
            node = node.child(step) if node is not None else None
        return node

    def mark(self, path: Steps, *, key: bool = False) -> Mark:
        """Where this path stands in the text, or its nearest written ancestor.

        Args:
            path: a place, written or not.
            key: the key's place rather than the value's.
        """
        whole = self.node(path) is not None
        while path and self.node(path) is None:
            path = path[:-1]
        node = self.node(path)
        if node is None or not path:
            return self.start
        if (key or not whole) and node.key is not None:
            return node.key
        return node.mark

    @property
    def start(self) -> Mark:
        """The first key, or the first line that is not empty."""
        if self.root is not None and isinstance(self.root.value, dict):
            for child in self.root.value.values():
                if child.key is not None:
                    return child.key
        lines = self.source.lines
        line = next((i for i, text in enumerate(lines) if text.strip()), 0)
        return self.source.mark(line, 0, line, len(lines[line].rstrip()))

    def problem(
        self, path: Steps, rule: str, message: str, severity: Severity = "error", *, key: bool = False
    ) -> Problem:
        """A problem at this path's place."""
        return problem_at(self.mark(path, key=key), rule, message, path, severity)

    def report(self, mark: Mark, rule: str, message: str, path: Steps = ()) -> None:
        """Keep a problem found in reading."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem_at(mark, rule, message, path))

    def in_order(self, problems: list[Problem]) -> list[Problem]:
        """Sorted by place: the file first, then the command line."""
        return sorted(problems, key=lambda p: (p.file == COMMAND_LINE, p.line, p.column, p.severity, p.rule, p.message))

    def copy(self) -> Document:
        """A copy whose lists can be added to. Nodes are shared: they are never changed in place."""
        return replace(self, problems=[*self.problems], holes={*self.holes}, notices=[*self.notices])


def problem_at(mark: Mark, rule: str, message: str, path: Steps, severity: Severity = "error") -> Problem:
    """A problem at a mark."""
    return Problem(mark.source.name, mark.line, mark.column, mark.length, severity, rule, message, path, mark.text)


def dotted(path: Steps) -> str:
    """'sampling.labels[0]'; 'the recipe' for the root."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "the recipe"
