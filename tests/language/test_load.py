"""Text → data and places."""

import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.errors import UsageError
from runner.language import load as loading
from runner.language.load import load, parse


def value(text: str) -> Any:
    document = parse(f"k: {text}\n", "r.yaml")
    assert document.problems == []
    return document.data["k"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("nil", "nil"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0x1", "-0x1"),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("16:9", "16:9"),
        ("1:1", "1:1"),
        ("512:512", "512:512"),
        ("2024-01-01", "2024-01-01"),
        ("2e-5", 2e-5),
        ("1e4", 10000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("5.0", 5.0),
        ("+.5e+3", 500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        (".", "."),
        ("-", None),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ('"5"', "5"),
        ("'yes'", "yes"),
        ('"a\\tb\\u00e9\\U0001F339"', "a\tbé🌹"),
        ("99999999999999999999", 99999999999999999999),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    if text == "-":
        document = parse("k:\n-\n", "r.yaml")
        assert document.data == {"k": [None]}
        return
    got = value(text)
    assert got == expected
    assert type(got) is type(expected)


def test_nan_is_nan() -> None:
    assert math.isnan(value(".nan"))
    assert math.isinf(value("9" * 5000))  # more digits than a float can hold
    assert value("9" * 300) == int("9" * 300)


def test_a_hash_in_a_word_is_text_and_after_a_space_a_comment() -> None:
    assert value("a#b # c") == "a#b"


def test_every_key_and_value_has_its_place() -> None:
    document = parse("a: 1\nb:\n  ç🌹: [x, 'y z']\n  d: {e: null}\n", "r.yaml")
    for path, key, line, column, length in [
        (("a",), True, 1, 1, 1),
        (("a",), False, 1, 4, 1),
        (("b",), True, 2, 1, 1),
        (("b", "ç🌹"), True, 3, 3, 2),
        (("b", "ç🌹", 1), False, 3, 11, 5),
        (("b", "ç🌹"), False, 3, 7, 10),
        (("b", "d", "e"), False, 4, 10, 4),
        (("b", "d", "missing", "deeper"), False, 4, 3, 1),  # the nearest written ancestor's key
        (("nothing",), False, 1, 1, 1),
    ]:
        mark = document.mark(path, key=key)
        assert (mark.line, mark.column, mark.length) == (line, column, length), path


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_both_parsers_of_pyyaml_agree(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(yaml, loader):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(loading, "_Loader", getattr(yaml, loader))
    text = "a: 1\nb: [x, {c: 'd'}]\ntext: |\n  two\n  lines\n"
    assert parse(text, "r.yaml").data == {"a": 1, "b": ["x", {"c": "d"}], "text": "two\nlines\n"}
    for bad in [
        "a: [1",
        "a: 'x",
        "a:\n\tb: 1",
        "a: b: c",
        'a: "\\q"',
        'a: "\\UFFFFFFFF"',
        "a: !e x",
        "a: *b",
        "- 1\nb: 2",
    ]:
        (problem,) = parse(bad, "r.yaml").problems
        assert problem.line in (1, 2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfname: \xc3\xa9", {"name": "é"}),
        ("name: é".encode("utf-16"), {"name": "é"}),
        (b"\xfe\xff" + "name: é".encode("utf-16-be"), {"name": "é"}),
        (b"a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        (b"a: 1\rb: 2\r", {"a": 1, "b": 2}),
        (b"a: 1", {"a": 1}),
    ],
)
def test_encodings_and_line_ends(data: bytes, expected: object, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    document = load(path)
    assert document.problems == []
    assert document.data == expected


def test_a_missing_file_is_a_usage_error_with_a_guess(tmp_path: Path) -> None:
    (tmp_path / "roses.yaml").write_text("version: 1\n")
    with pytest.raises(UsageError, match=r"there is no recipe .*rosse.yaml; did you mean .*roses.yaml\?") as caught:
        load(tmp_path / "rosse.yaml")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="did you mean quickstart"):
        load("quikstart")
    with pytest.raises(UsageError, match="'recipe ls' lists"):
        load(tmp_path / "xyzzy-plugh")


def test_what_is_no_plain_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match="is not a plain file"):
        load(tmp_path / "pipe.yaml")
    (tmp_path / "r.yaml").write_text("a: 1")
    with pytest.raises(UsageError, match="a part of the path is a file"):
        load(tmp_path / "r.yaml" / "inner.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / ("x" * 300))
    with pytest.raises(UsageError, match="cannot be read"):
        load("a\0b")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1")
    path.chmod(stat.S_IWUSR)
    with pytest.raises(UsageError, match="permission denied"):
        load(path)


def test_relative_paths_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: 1")
    assert load(tmp_path / "r.yaml").folder == tmp_path
    assert parse("a: 1", "r.yaml").folder == Path.cwd()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("# x\n" * 70_000, "size"),
        ("a: [" + "x, " * 30_000 + "]", "size"),
        ("a: " + "[" * 100_000, "nesting"),
        ("- " * 100_000, "nesting"),
        ("{a: " * 60_000, "nesting"),
        ("? " * 100_000, "nesting"),
        ("a: &a [x]\nb: [" + "*a, " * 15_000 + "]", "alias"),
        ("a: &a {x: 1}\n" + "".join(f"k{i}: {{<<: *a}}\n" for i in range(9_000)), "merge-key"),
    ],
)
def test_bombs_end_in_a_sentence(text: str, rule: str) -> None:
    problems = parse(text, "r.yaml").problems
    assert rule in {p.rule for p in problems}
    assert len(problems) <= 200


def test_a_file_far_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    (problem,) = load(path).problems
    assert problem.message == "the recipe has 50.0 MiB; 256 KiB is the most a recipe may have"
    assert (problem.line, problem.column) == (1, 1)


def test_an_anchor_does_not_swallow_a_word_of_text() -> None:
    """YAML would read '&rose in bloom' as 'in bloom'."""
    (problem,) = parse("description: &rose in bloom\n", "r.yaml").problems
    assert (problem.rule, problem.line, problem.column, problem.length) == ("anchor", 1, 14, 5)
