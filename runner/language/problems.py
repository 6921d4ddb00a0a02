"""Problems of a recipe, and how they are shown: text with a caret, JSON, GitHub annotations."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from runner.errors import RecipeError
from runner.secrets import masked, redact
from runner.shown import shown

Severity = Literal["error", "warning"]
Format = Literal["text", "json", "github"]

COMMAND_LINE = "command line"  # the `file` of problems whose place is an override
REFUSALS = {"foreign-tag", "refused", "secret"}  # rules of what is unsafe, not just wrong
MOST_SHOWN = 50
WINDOW = 100  # columns of a source line that are shown
_TAB = "    "


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a recipe, and where.

    Attributes:
        file: the recipe's name as given, or `COMMAND_LINE`.
        line, column: counted from 1, in characters.
        length: how many characters of the line the problem covers, at least 1.
        severity: only errors keep a recipe from running.
        rule: a stable name of the kind of problem, such as 'unknown-key'.
        message: what is wrong and how to mend it.
        path: the key's place in the recipe, such as ('training', 'batch_size').
        source: the line of text that is shown.
    """

    file: str
    line: int
    column: int
    length: int
    severity: Severity
    rule: str
    message: str
    path: tuple[str | int, ...]
    source: str


class RecipeProblems(RecipeError):
    """The recipe cannot run. `exit_code` is 6 where something in it is refused as unsafe, else 1."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(p.message for p in self.problems))
        refused = any(p.rule in REFUSALS and p.severity == "error" for p in self.problems)
        self.exit_code = 6 if refused else 1


def render(problems: Iterable[Problem], format: Format = "text") -> str:
    """The problems as text for people, as a JSON list, or as GitHub workflow annotations; '' for no problems."""
    listed = [replace(p, source=masked(p.source)) for p in problems]
    if format == "json":
        return redact(json.dumps([_as_json(p) for p in listed], indent=2))
    if format == "github":
        return redact("\n".join(_as_annotation(p) for p in listed))
    blocks = [_as_text(p) for p in listed[:MOST_SHOWN]]
    if len(listed) > MOST_SHOWN:
        blocks.append(f"… and {len(listed) - MOST_SHOWN} more problems")
    return "\n".join(blocks)


def _as_text(p: Problem) -> str:
    warning = "warning: " if p.severity == "warning" else ""
    number = str(p.line)
    gutter = " " * (len(number) + 2) + "|"
    line, caret = _window(p.source, p.column - 1, p.length)
    return "\n".join(
        [
            f"{shown(p.file)}:{p.line}:{p.column}: {warning}{shown(p.message, 1000)}  [{p.rule}]",
            gutter,
            f" {number} | {line}".rstrip(),
            f"{gutter} {caret}",
        ]
    )


def _window(source: str, start: int, length: int) -> tuple[str, str]:
    """The part of a line round the caret, and the caret's own line."""
    first = max(0, min(start - WINDOW // 3, len(source) - WINDOW)) if len(source) > WINDOW else 0
    last = min(len(source), first + WINDOW)
    before = ("…" if first else "") + "".join(_cell(c) for c in source[first:start])
    marked = "".join(_cell(c) for c in source[start : min(start + length, last)])
    after = "".join(_cell(c) for c in source[start + length : last]) + ("…" if last < len(source) else "")
    width = max(1, _columns(marked))
    return before + marked + after, " " * _columns(before) + "^" * min(2, width) + "~" * (width - 2)


def _cell(c: str) -> str:
    return _TAB if c == "\t" else shown(c)


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes: CJK and emoji take two, combining marks none."""
    return sum(_width(c) for c in text)


def _width(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1


def _as_json(p: Problem) -> dict[str, Any]:
    return {
        "file": p.file,
        "line": p.line,
        "column": p.column,
        "length": p.length,
        "severity": p.severity,
        "rule": p.rule,
        "message": p.message,
        "path": list(p.path),
        "source": p.source,
    }


def _as_annotation(p: Problem) -> str:
    """A workflow command (docs.github.com: Workflow commands for GitHub Actions)."""
    place = {"line": p.line, "col": p.column, "endColumn": p.column + p.length, "title": p.rule}
    if p.file != COMMAND_LINE:
        place = {"file": p.file, **place}
    properties = ",".join(f"{key}={_escaped(str(value), properties=True)}" for key, value in place.items())
    return f"::{p.severity} {properties}::{_escaped(shown(p.message, 1000))}"


def _escaped(text: str, properties: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if properties else text
