"""Odd YAML: a few texts of every kind, and the inputs of the public yaml-test-suite where they are at hand.

RECIPE_YAML_TEST_SUITE names a folder with the suite's `data` branch (github.com/yaml/yaml-test-suite).
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner.language.load import load, parse
from runner.language.problems import RecipeProblems, render
from runner.language.recipe import read

OTHERWISE = {
    "9C9N": "the lines of a list in brackets may begin at the margin",
    "DK95/01": "a line of a quoted text may begin with a tab",
    "QB6E": "the lines of a quoted text may begin at the margin",
    "S98Z": "lines of spaces before a comment are an empty text",
    "SU5Z": "a comment may follow a closing quote at once",
    "X4QW": "a comment may follow '>' at once",
    "L24T/01": "spaces on a last line that has no end are no line of their own",
}
"""What libyaml reads otherwise than the suite, in the only way that it can be meant."""


def inputs() -> list[Path]:
    folder = os.environ.get("RECIPE_YAML_TEST_SUITE")
    return sorted(Path(folder).glob("[0-9A-Z]*/**/in.yaml")) if folder else []


def of_the_suite(path: Path) -> list[Any]:
    """The documents that the suite says an input holds."""
    decoder, text, documents = json.JSONDecoder(), path.with_name("in.json").read_text("utf-8").lstrip(), []
    while text:
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:].lstrip()
    return documents


def check(document: Any) -> None:
    """Every problem is a sentence with a place; a recipe without any is what its text says."""
    try:
        problems = read(document)[1]
    except RecipeProblems as error:
        problems = error.problems
        assert error.exit_code in (1, 6)
    for problem in problems:
        assert problem.message and "Traceback" not in problem.message
        assert problem.line >= 1 and 1 <= problem.column <= len(problem.source) + 1
    assert not set("\x1b\0\x9b\u2028\u202e") & set(render(problems))


def name(path: Path) -> str:
    """'DK95/01' for the input of this path."""
    return path.parent.relative_to(os.environ["RECIPE_YAML_TEST_SUITE"]).as_posix()


@pytest.mark.skipif(not inputs(), reason="RECIPE_YAML_TEST_SUITE names no folder with the suite's inputs")
@pytest.mark.parametrize("path", inputs(), ids=name)
def test_the_yaml_test_suite(path: Path) -> None:
    document = load(path)
    check(document)
    if document.problems or name(path) in OTHERWISE:
        return
    assert not path.with_name("error").exists(), "the suite says that this is no YAML"
    if path.with_name("in.json").exists():
        assert [document.data] == of_the_suite(path)


ODD_BUT_RIGHT: dict[str, Any] = {
    # lists and mappings
    "a:\n- b\n-   - c\n    - d\n": {"a": ["b", ["c", "d"]]},
    "a:\n  - b: 1\n    c: 2\n  -\n    d: 3\n": {"a": [{"b": 1, "c": 2}, {"d": 3}]},
    "a: [b, [c], {d: e}, {}, [], f: g]\n": {"a": ["b", ["c"], {"d": "e"}, {}, [], {"f": "g"}]},
    "a: [\n b, # one\n c,\n ]\n": {"a": ["b", "c"]},
    "{a: 1,\n\n b: {c:\n 2}}\n": {"a": 1, "b": {"c": 2}},
    '{"a":1, "b":[2]}': {"a": 1, "b": [2]},
    "{a, b: , c}": {"a": None, "b": None, "c": None},
    "a:\n  b:\n    c:\nd:\n": {"a": {"b": {"c": None}}, "d": None},
    "a:\n    b: 1\nc:\n b: 2\n": {"a": {"b": 1}, "c": {"b": 2}},
    "? a\n: b\n? c\n": {"a": "b", "c": None},
    "a : b": {"a": "b"},
    "'a' : 'b'": {"a": "b"},
    "a:\n  ? b\n  : - c\n    - d\n": {"a": {"b": ["c", "d"]}},
    # plain words
    "a: b c  # d\n": {"a": "b c"},
    "a: b\n  c\n\n  d\n": {"a": "b c\nd"},
    "a: b#c :d http://x/y?z=1\n": {"a": "b#c :d http://x/y?z=1"},
    "a: -b\nc: ?d\ne: :f\n": {"a": "-b", "c": "?d", "e": ":f"},
    "a: x - y\nb: (x:1.2), [[y]]\n": {"a": "x - y", "b": "(x:1.2), [[y]]"},
    "a: <lora>\nb: \\n\nc: a\\b\n": {"a": "<lora>", "b": "\\n", "c": "a\\b"},
    "a-b.c/d: 1\n": {"a-b.c/d": 1},
    "?a: 1\n-b: 2\n:c: 3\n": {"?a": 1, "-b": 2, ":c": 3},
    "true1: 1\nnullx: 2\n1e: 3\n": {"true1": 1, "nullx": 2, "1e": 3},
    # quotes
    "a: 'it''s'\nb: \"\\\"x\\\" \\/\"\n": {"a": "it's", "b": '"x" /'},
    'a: "\\x41\\u00e9\\U0001F338"': {"a": "Aé🌸"},
    'a: "b\n  c\n\n  d"': {"a": "b c\nd"},
    'a: "b\\\n  c"': {"a": "bc"},
    "a: ' '\nb: ''\n": {"a": " ", "b": ""},
    "'<<': 1\n=: 2\n": {"<<": 1, "=": 2},
    # blocks of text
    "a: |\n  x\n   y\n\n": {"a": "x\n y\n"},
    "a: |-\n  x\nb: |+\n  y\n\n": {"a": "x", "b": "y\n\n"},
    "a: |2\n   x\n": {"a": " x\n"},
    "a: |\n  # x\n  y: z\n": {"a": "# x\ny: z\n"},
    "a: >\n  x\n  y\n\n  z\n": {"a": "x y\nz\n"},
    "a: >-\n  x\n   y\n  z\n": {"a": "x\n y\nz"},
    # documents, white space and line ends
    "---\na: 1\n...\n# c\n": {"a": 1},
    "--- {a: 1}": {"a": 1},
    "%YAML 1.2\n---\na: 1\n": {"a": 1},
    "# c\r\na: 1\r\nb: x\r\n  y\r\n": {"a": 1, "b": "x y"},
    "a:\tb\nc: [\td,\te]\t# f\n": {"a": "b", "c": ["d", "e"]},
    "a: \u00a0b\n": {"a": "\u00a0b"},
}

ODD_AND_WRONG = {
    "a: b: c\n": "syntax",
    "a: - b\n": "syntax",
    "- a\nb: c\n": "syntax",
    "a: 'b' c\n": "syntax",
    'a: "b"c\n': "syntax",
    'a: "\\q"': "syntax",
    "a: @x\n": "syntax",
    "a: `x`\n": "syntax",
    "a: %x\n": "syntax",
    "a: |x\n": "syntax",
    "a: [b,,c]\n": "syntax",
    "a: {b: c,,}\n": "syntax",
    "a: {b}}\n": "syntax",
    "a: [b]]\n": "syntax",
    "...\n": "syntax",
    "-\ta\n": "tab",
    "a:\n  b: 1\n c: 2\n": "indentation",
    "a: b\n c: d\n": "indentation",
    "\u00a0a: b\n": "indentation",
    "{a: b, a: c}": "duplicate-key",
    "? a\n: b\n? a\n": "duplicate-key",
    "{?a: b}": "key",
    "a: [?b, c]": "key",
    "{[a]: b}": "key",
    "~: x": "key",
    "? ": "key",
    "a: &x\n": "anchor",
    "a: *x\n": "alias",
    "a: !!str\n": "tag",
    "a: !x y\n": "foreign-tag",
    "a: !<tag:x> y\n": "foreign-tag",
    "<<: {a: 1}\n": "merge-key",
    "---\n---\n": "documents",
    "a: 1\n--- b\n": "documents",
    'a: "\\N"': "control-character",
    "a: b\u2028c\n": "control-character",
    **dict.fromkeys(["-", "-a", ":a", "?a", "|", "--- |\n a: b\n"], "type"),
    **dict.fromkeys("[{}]&*%@'\"`,", "syntax"),
}


@pytest.mark.parametrize("text", ODD_BUT_RIGHT, ids=repr)
def test_odd_but_right(text: str) -> None:
    document = parse(text, "odd.yaml")
    assert document.problems == []
    assert document.data == ODD_BUT_RIGHT[text]
    check(document)


@pytest.mark.parametrize("text", ODD_AND_WRONG, ids=repr)
def test_odd_and_wrong(text: str) -> None:
    document = parse(text, "odd.yaml")
    assert [problem.rule for problem in document.problems] == [ODD_AND_WRONG[text]]
    check(document)
