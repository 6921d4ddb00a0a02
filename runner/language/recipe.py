"""A checked recipe: its values, and the places they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.language.check import check
from runner.language.document import Document, Steps
from runner.language.load import load
from runner.language.overrides import apply
from runner.language.problems import Problem, RecipeProblems, Severity
from runner.language.resolve import resolve
from runner.language.write import to_yaml

__all__ = ["Recipe", "read", "to_yaml"]


@dataclass
class Recipe:
    """A recipe without errors.

    Attributes:
        values: every key, defaults filled in.
        document: what was written, and where.
    """

    values: dict[str, Any]
    document: Document

    def problem(self, path: Steps, rule: str, message: str, severity: Severity = "error") -> Problem:
        """A problem at the key's value, or at its nearest written ancestor's key."""
        return self.document.problem(path, rule, message, severity)

    def folder_of(self, path: Steps) -> Path:
        """What a relative path written at this key is relative to: the file's folder, or the working directory."""
        node = self.document.node(path)
        written_by_override = node is not None and node.mark.source.is_command_line
        return Path.cwd() if written_by_override else self.document.folder


def read(source: str | Path | Document, overrides: Sequence[str] = ()) -> tuple[Recipe, list[Problem]]:
    """The checked recipe of a file or document, and the warnings about it.

    Raises:
        RecipeProblems: it has errors; warnings are among its problems.
        UsageError: the file cannot be read, or an override is no `key=value`.
    """
    document = source if isinstance(source, Document) else load(source)
    document = apply(document, list(overrides))
    problems = check(document)
    if any(p.severity == "error" for p in problems):
        raise RecipeProblems(problems)
    return Recipe(resolve(document), document), problems
