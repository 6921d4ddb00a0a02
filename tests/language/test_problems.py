"""How problems are shown."""

import json

import pytest

from runner.language.document import Document, Source
from runner.language.load import parse
from runner.language.problems import COMMAND_LINE, Problem, RecipeProblems, render


def problem(source: str, column: int, length: int, line: int = 9, **changes: object) -> Problem:
    values: dict = {
        "file": "r.yaml",
        "line": line,
        "column": column,
        "length": length,
        "severity": "error",
        "rule": "unknown-key",
        "message": "what is wrong",
        "path": ("training", "x"),
        "source": source,
    }
    return Problem(**(values | changes))


def test_text_is_as_the_documentation_shows() -> None:
    text = "training:\n  learning_rte: 1e-4"
    shown = problem(
        text.splitlines()[1],
        3,
        12,
        file="recipes/mine.yaml",
        message="unknown key 'learning_rte' in training: did you mean 'learning_rate'?",
    )
    assert render([shown]) == (
        "recipes/mine.yaml:9:3: unknown key 'learning_rte' in training: did you mean 'learning_rate'?  [unknown-key]\n"
        "   |\n"
        " 9 |   learning_rte: 1e-4\n"
        "   |   ^^~~~~~~~~~~"
    )


def test_warnings_say_so_and_long_numbers_widen_the_gutter() -> None:
    assert render([problem("a: 1", 4, 1, line=1234, severity="warning")]) == (
        "r.yaml:1234:4: warning: what is wrong  [unknown-key]\n      |\n 1234 | a: 1\n      |    ^"
    )


def caret(source: str, column: int, length: int) -> tuple[str, str]:
    """The shown line and the caret's, without the gutter."""
    _, _, line, mark = render([problem(source, column, length)]).split("\n")
    return line.removeprefix(" 9 | "), mark.removeprefix("   | ")


@pytest.mark.parametrize(
    ("source", "column", "length", "line", "mark"),
    [
        ("a:\tb", 4, 1, "a:    b", "      ^"),
        ("花: 絵", 4, 1, "花: 絵", "    ^^"),
        ("🌸🌸 x", 4, 1, "🌸🌸 x", "     ^"),
        ("e\u0301e\u0301 x", 6, 1, "e\u0301e\u0301 x", "   ^"),
        ("a: \x1b[2J", 4, 1, "a: \\x1b[2J", "   ^^~~"),
        ("a: \u202eb", 5, 1, "a: \\u202eb", "         ^"),
        ("", 1, 1, "", "^"),
        ("abc", 4, 1, "abc", "   ^"),
    ],
)
def test_the_caret_stands_under_its_place(source: str, column: int, length: int, line: str, mark: str) -> None:
    got_line, got_mark = caret(source, column, length)
    assert (got_line.rstrip(), got_mark) == (line, mark) if line else got_mark == mark


def test_long_lines_are_shown_round_the_caret() -> None:
    source = "x" * 500 + "HERE" + "y" * 500
    line, mark = caret(source, 501, 4)
    assert line.startswith("…x") and line.endswith("y…")
    assert len(line) <= 102
    assert line[mark.index("^") :].startswith("HERE")
    line, mark = caret("x" * 500 + "HERE", 501, 4)
    assert line.endswith("HERE")
    assert line[mark.index("^") :] == "HERE"
    line, mark = caret("HERE" + "y" * 500, 1, 504)
    assert line.startswith("HERE") and len(mark) <= 101


def test_many_problems_are_counted() -> None:
    text = render([problem("a", 1, 1)] * 53)
    assert text.count("what is wrong") == 50
    assert text.endswith("… and 3 more problems")


def test_nothing_from_outside_reaches_the_terminal_raw() -> None:
    text = render([problem("\x1b]0;t\x07", 1, 1, file="\x1b[2J.yaml", message="got '\x1b[31m\u202e'")])
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text


def test_json_has_every_field() -> None:
    (item,) = json.loads(render([problem("  x: é", 3, 1)], "json"))
    assert item == {
        "file": "r.yaml",
        "line": 9,
        "column": 3,
        "length": 1,
        "severity": "error",
        "rule": "unknown-key",
        "message": "what is wrong",
        "path": ["training", "x"],
        "source": "  x: é",
    }
    assert json.loads(render([], "json")) == []


def test_github_annotations_are_escaped() -> None:
    shown = problem("x", 3, 2, file="a,b:c%.yaml", message="100% wrong\nand more", severity="warning")
    assert render([shown], "github") == (
        "::warning file=a%2Cb%3Ac%25.yaml,line=9,col=3,endColumn=5,title=unknown-key::100%25 wrong\\x0aand more"
    )
    on_command_line = render([problem("seed=x", 6, 1, file=COMMAND_LINE)], "github")
    assert on_command_line.startswith("::error line=9,col=6,")


def test_nothing_is_shown_for_nothing() -> None:
    assert render([]) == "" and render([], "github") == ""


@pytest.mark.parametrize(
    ("rule", "severity", "code"),
    [("refused", "error", 6), ("foreign-tag", "error", 6), ("type", "error", 1), ("refused", "warning", 1)],
)
def test_exit_codes(rule: str, severity: str, code: int) -> None:
    problems = [problem("x", 1, 1), problem("x", 1, 1, rule=rule, severity=severity)]
    assert RecipeProblems(problems).exit_code == code


def test_a_recipe_places_later_problems_too() -> None:
    document: Document = parse("version: 1\ndata:\n  type: hub\n", "r.yaml")
    found = document.problem(("data", "revision"), "no-such-revision", "there is no such revision")
    assert (found.line, found.column, found.source) == (2, 1, "data:")
    assert Source.of("r", "a\r\nb\rc").lines == ["a", "b", "c"]
