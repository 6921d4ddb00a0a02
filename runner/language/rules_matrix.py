"""Rules of sampling.matrix: one place for each value, and not too many pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule

_MOST = 10_000  # combinations; more would never be looked at


@rule("matrix")
def matrix_wins(view: View) -> Iterator[Told]:
    """A value that is the list's first says nothing else: a settled recipe holds such ones."""
    for key, values in (view.get("sampling.matrix") or {}).items():
        outside = f"sampling.{key}"
        if key == "scheduler" and not view.written(outside) and view.get("model.type") == "pretrained":
            outside = "scheduler"
        if view.chosen(outside) and view.get(outside) != values[0]:
            yield Told(outside, f"sampling.matrix gives {key} too, and wins: remove the line here", "warning")


@rule("matrix")
def matrix_has_an_end(view: View) -> Iterator[Told]:
    lists = (view.get("sampling.matrix") or {}).values()
    count = math.prod(len(values) for values in lists)
    if count > _MOST:
        yield Told("sampling.matrix", f"the matrix has {count} combinations; {_MOST} is the most")


@rule("matrix")
def matrix_says_nothing_twice(view: View) -> Iterator[Told]:
    for key, values in (view.get("sampling.matrix") or {}).items():
        for i, value in enumerate(values):
            if value in values[:i]:
                yield Told(f"sampling.matrix.{key}.{i}", f"this {key} is in the list already", "warning")


RULES: list[Rule] = [matrix_wins, matrix_has_an_end, matrix_says_nothing_twice]
