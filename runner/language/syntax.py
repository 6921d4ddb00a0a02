"""Where a text is not YAML: the parser's complaint as a sentence with a mend."""

from __future__ import annotations

import re
from typing import Any

from runner.language.document import Mark, Source
from runner.shown import shown

MOST_LEVELS = 64
TOO_DEEP = f"nested more than {MOST_LEVELS} levels deep"

_GLUED = re.compile(r"^\s*(?:- +)?[A-Za-z_][\w-]*:[^\s:/\\]")  # 'batch_size:16'
_OPENERS = {"flow sequence": ("[", "]"), "flow mapping": ("{", "}")}
_SENTENCES = [
    ("unknown escape character", "this escape is unknown: write '\\\\' for a backslash, or use single quotes"),
    ("invalid Unicode character escape", "this escape is no character: remove it"),
    ("hexdecimal", "this escape is cut short: \\x takes 2 digits, \\u 4 and \\U 8"),
    ("hexadecimal", "this escape is cut short: \\x takes 2 digits, \\u 4 and \\U 8"),
    ("block sequence entries", "a list cannot start here: put '- …' on a line of its own, or write [a, b]"),
    ("'-' indicator", "expected another '- …' here: the list above ends, or this line's indentation does not fit"),
    ("document start", "a recipe is one document, and something follows its end"),
    ("directive", "lines that start with '%' are no part of a recipe: remove the line"),
    ("YAML document", "lines that start with '%' are no part of a recipe: remove the line"),
    ("version number", "lines that start with '%' are no part of a recipe: remove the line"),
    ("comment or line break", "'>' and '|' begin a block of text on the lines below: put other text in quotes"),
    ("unexpected document indicator", "'---' or '...' stands inside a quoted text: close the quote before it"),
    ("node content", "a value is missing here"),
    ("alphabetic or numeric", "'&' and '*' have a meaning of their own in YAML: put the value in quotes"),
]


def complaint(source: Source, error: Any) -> tuple[Mark, str, str]:
    """Place, rule and message for a yaml.MarkedYAMLError or a ValueError of the pure Python parser."""
    at = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if at is None:
        return source.mark(0, 0, 0, 1), "syntax", f"this is not YAML ({shown(error, 100)})"
    context, problem = str(error.context or ""), str(error.problem or "")
    line = min(at.line, len(source.lines) - 1)
    here = source.mark(line, at.column, line, at.column + 1)
    if "directive" in context:
        here = source.mark(line, 0, line, len(source.lines[line].rstrip()))
    if "quoted scalar" in context and "end of stream" not in problem:
        start = max(0, source.lines[line].rfind("\\", 0, at.column + 1))
        here = source.mark(line, start, line, max(at.column, start + 1) + 1)
    return (
        _nested(here, problem)
        or _tab(source, line)
        or _tag(here, problem)
        or _special(here, problem)
        or _unclosed(source, error, context, problem)
        or _glued(source, line, problem)
        or _indentation(source, line, at.column, problem)
        or (here, "syntax", next((s for part, s in _SENTENCES if part in problem), f"this is not YAML: {problem}"))
    )


def _nested(here: Mark, problem: str) -> tuple[Mark, str, str] | None:
    """PyYAML from 6.0.4 on counts levels too, and may come first."""
    return (here, "nesting", TOO_DEEP) if "maximum nesting depth" in problem else None


def _tab(source: Source, line: int) -> tuple[Mark, str, str] | None:
    text = source.lines[line]
    indentation = text[: len(text) - len(text.lstrip())]
    if "\t" not in indentation:
        return None
    column = indentation.index("\t")
    others = sum(1 for other in source.lines[line + 1 :] if "\t" in other[: len(other) - len(other.lstrip())])
    more = f" (also in {others} {'line' if others == 1 else 'lines'} below)" if others else ""
    return source.mark(line, column, line, len(indentation)), "tab", f"tab used for indentation: use spaces{more}"


def _tag(here: Mark, problem: str) -> tuple[Mark, str, str] | None:
    if "tag" not in problem and "URI" not in problem:
        return None
    return here, "foreign-tag", "tags ('!…') are not allowed in recipes: put text that starts with '!' in quotes"


def _special(here: Mark, problem: str) -> tuple[Mark, str, str] | None:
    """Text that starts with a character that YAML keeps for itself."""
    character = here.text[here.column - 1 : here.column]
    if "cannot start any token" not in problem:
        return None
    if character == "\t":
        return here, "tab", "a tab stands where a value begins: use spaces"
    return here, "syntax", f"text cannot start with '{shown(character)}': put it in quotes"


def _unclosed(source: Source, error: Any, context: str, problem: str) -> tuple[Mark, str, str] | None:
    opened = error.context_mark
    if opened is None:
        return None
    mark = source.mark(opened.line, opened.column, opened.line, opened.column + 1)
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return mark, "syntax", "this quote is not closed"
    for name, (opener, closer) in _OPENERS.items():
        if name in context:
            last = len(source.lines) - 1 if source.lines[-1] else len(source.lines) - 2
            where = (
                "the end of the text"
                if error.problem_mark.line > last
                else f"line {error.problem_mark.line + source.first}"
            )
            return mark, "syntax", f"'{opener}' is not closed: expected ',' or '{closer}' before {where}"
    return None


def _glued(source: Source, line: int, problem: str) -> tuple[Mark, str, str] | None:
    """'batch_size:16', which reads as text and makes the next line's ':' wrong."""
    if "mapping values" not in problem and "expected ':'" not in problem:
        return None
    for above in range(line, max(-1, line - 2), -1):
        if found := _GLUED.match(source.lines[above]):
            colon = found.end() - 2
            return source.mark(above, colon, above, colon + 1), "syntax", "did you miss a space after ':'?"
    return None


def _indentation(source: Source, line: int, column: int, problem: str) -> tuple[Mark, str, str] | None:
    text = source.lines[line]
    indent = len(text) - len(text.lstrip())
    mark = _whole(source, line)
    if "mapping values" in problem or "expected ':'" in problem:
        if ": " in text[indent:column]:
            at = source.mark(line, column, line, column + 1)
            return at, "syntax", "a second ': ' in one line: put the value in quotes"
        above = next((n for n in range(line - 1, -1, -1) if source.lines[n].strip()), None)
        if above is not None and ":" not in source.lines[above]:
            return _whole(source, above), "syntax", "expected 'key: value' here"
        if not indent:
            return mark, "syntax", "expected 'key: value' here or in the line above"
        return mark, "indentation", "this line is indented, but the line above already has a value"
    if "expected key" in problem and text.strip() and column > indent:
        rest = source.mark(line, column, line, len(text.rstrip()))
        return rest, "syntax", "this follows a value that has ended: put the whole value in one pair of quotes"
    if "expected key" in problem and text.strip():
        return mark, "indentation", "expected a key that is indented like its neighbours"
    return _second_start(source, line) if "document start" in problem else None


def _second_start(source: Source, line: int) -> tuple[Mark, str, str] | None:
    """A first line that makes the parser take the rest for another document."""
    above = [n for n in range(line) if source.lines[n].strip() and not source.lines[n].lstrip().startswith("#")]
    first = above[0] if above else line
    if source.lines[first].startswith("%"):
        return _whole(source, first), "syntax", "lines that start with '%' are no part of a recipe: remove the line"
    if source.lines[first].startswith(" ") and not any(source.lines[n].startswith(("---", "...")) for n in above):
        return (
            _whole(source, first),
            "indentation",
            f"this line is indented, line {line + source.first} is not: remove the spaces",
        )
    return None


def _whole(source: Source, line: int) -> Mark:
    text = source.lines[line]
    return source.mark(line, len(text) - len(text.lstrip()), line, len(text.rstrip()))
