"""Values → YAML → the same values, for readers of YAML 1.1 and 1.2."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.language.load import parse
from runner.language.write import to_yaml

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"), max_size=30
)
WORDS = st.sampled_from(
    [
        *[
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "null",
            "~",
            "",
            " a",
            "16:9",
            "1_000",
            "0o17",
            "0x1f",
            "1e3",
            "2e-5",
            ".5",
            "true",
        ],
        *[".inf", ".nan", "=", "<<", "2024-01-01", "a: b", "a #b", "#a", "- a", "?", "[x", "{x", "a,b", "'", '"', "\\"],
        *[
            "a\nb",
            "a\tb",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "| x",
            "../x",
            "~/x",
            "./a b",
            "é",
            "🌸",
            "\u202e",
            "...",
            "---",
        ],
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | WORDS
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    text = to_yaml(values, header=True)
    document = parse(text, "r.yaml")
    assert document.problems == []
    assert same(document.data, values)
    assert same(yaml.safe_load(text), values)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e-4, "0.0001"),
        (2e-5, "2.0e-5"),
        (1.5e-7, "1.5e-7"),
        (1e22, "1.0e+22"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (5e-324, "5.0e-324"),
    ],
)
def test_floats_stay_numbers_everywhere(number: float, text: str) -> None:
    assert to_yaml({"k": number}, header=False) == f"k: {text}\n"


def test_it_is_tidy() -> None:
    values = {
        "a": {"b": [1, 2], "c": {}},
        "d": [{"e": 1, "f": [[1], [2]]}],
        "g": ["long " * 10] * 3,
        "h": "a red tulip",
    }
    assert to_yaml(values, header=False) == (
        "a:\n  b: [1, 2]\n  c: {}\nd:\n  - e: 1\n    f:\n      - [1]\n      - [2]\n"
        'g:\n  - "long long long long long long long long long long "\n'
        '  - "long long long long long long long long long long "\n'
        '  - "long long long long long long long long long long "\n'
        "h: a red tulip\n"
    )
    assert to_yaml({"a": 1}, header=True).startswith("# Every key of the recipe")


def test_hidden_characters_are_escaped() -> None:
    text = to_yaml({"a": "x\x1b\u202e\U000e0001\x85"}, header=False)
    assert text.isascii() and text.strip().isprintable()
    assert yaml.safe_load(text) == {"a": "x\x1b\u202e\U000e0001\x85"}
