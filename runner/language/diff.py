"""What differs between two resolved recipes, key by key."""

from __future__ import annotations

import json
from typing import Any

from runner.shown import shown

ABSENT = "(absent)"


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value in a, value in b) for every key whose values differ, in a's order; `ABSENT` where there is none."""
    return _within(a, b, "")


def render(found: list[tuple[str, Any, Any]]) -> str:
    """The differences as lines 'key: a → b' for people."""
    return "\n".join(f"{key}: {_word(x)} → {_word(y)}" for key, x, y in found)


def _within(a: Any, b: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in [*a, *(k for k in b if k not in a)]:
            inner = f"{path}.{key}" if path else key
            found += _within(a.get(key, ABSENT), b.get(key, ABSENT), inner)
        return found
    same = a == b and isinstance(a, bool) == isinstance(b, bool)
    return [] if same else [(path, a, b)]


def _word(value: Any) -> str:
    if isinstance(value, str):
        return shown(value)
    return shown(json.dumps(value, ensure_ascii=False))
