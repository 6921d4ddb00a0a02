"""Patterns: those of the schemas cannot be made to search without end, and recipes have none of their own but globs."""

import json
import re._constants as kinds
import re._parser as parser

import pytest

from runner import shipped_files

SCHEMAS = shipped_files.folder("schemas")
REPEATS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)


def patterns(value):
    if isinstance(value, dict):
        found = value.get("pattern")
        yield from [found] if isinstance(found, str) else []
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from patterns(inner)


def nested(tree, inside=False):
    """Whether an unbounded repeat, or a choice, lies in an unbounded repeat: what can take exponential time."""
    for kind, value in tree:
        endless = kind in REPEATS and value[1] is kinds.MAXREPEAT
        if inside and (endless or kind is kinds.BRANCH):
            return True
        for part in value if isinstance(value, tuple | list) else []:
            for branch in part if isinstance(part, list) else [part]:
                if isinstance(branch, parser.SubPattern) and nested(branch, inside or endless):
                    return True
    return False


ALL = sorted({found for path in SCHEMAS.rglob("*.json") for found in patterns(json.loads(path.read_text("utf-8")))})


@pytest.mark.parametrize("pattern", ALL)
def test_no_pattern_of_a_schema_repeats_a_repeat(pattern):
    assert not nested(parser.parse(pattern))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?:a|a)*b", "^(x*y*)*$", "(?:(?:a*)b)*"])
def test_a_pattern_that_would_is_seen(pattern):
    assert nested(parser.parse(pattern))


def test_there_are_some():
    assert len(ALL) >= 4
