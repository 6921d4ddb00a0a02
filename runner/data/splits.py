"""Which rows a split like 'train+test[10%:20%]' means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from runner.errors import DataError
from runner.shown import shown

_PART = re.compile(r"\s*([\w.]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")


class Part(NamedTuple):
    """Rows `start` to `stop` (None: to the end) of one split."""

    split: str
    start: int
    stop: int | None


def names(spec: str, available: Iterable[str]) -> list[str]:
    """The splits that `spec` speaks of, in the order of `available`.

    Raises:
        DataError: not of this form, or no such split.
    """
    available = list(available)
    wanted = {_match(text, spec)[0] for text in spec.split("+")}
    for split in sorted(wanted - set(available)):
        known = ", ".join(map(shown, available))
        raise DataError(f"data.split '{shown(split)}' is not there: the data set has {known}")
    return [split for split in available if split in wanted]


def parse(spec: str, counts: Mapping[str, int | None]) -> list[Part]:
    """The parts of `spec` in order: split names joined by '+', each with an optional slice of rows or of percents.

    Percents are rounded to the closest row, as the datasets library does.

    Args:
        counts: how many rows each split that `spec` speaks of has; None where that is not known.

    Raises:
        DataError: not of this form, a slice without rows, or one that needs a count which is not known.
    """
    parts = []
    for text in spec.split("+"):
        split, start, stop = _match(text, spec)
        count = counts[split]
        begin = 0 if start is None else _row(start, count, spec)
        end = count if stop is None else _row(stop, count, spec)
        if end is not None and end <= begin:
            raise DataError(f"data.split '{shown(text.strip())}' holds no row" + _of(count))
        parts.append(Part(split, begin, end))
    return parts


def between(parts: Iterable[Part], start: int, stop: int | None) -> Iterator[Part]:
    """Rows `start` to `stop` of all that the parts hold, counted through: 0 to None where a part has no known end."""
    for split, first, last in parts:
        end = last if stop is None or last is None else min(last, first + stop)
        begin = first + max(0, start)
        if end is None or begin < end:
            yield Part(split, begin, end)
        if last is not None:
            start -= last - first
            stop = None if stop is None else stop - (last - first)


def _match(text: str, spec: str) -> tuple[str, str | None, str | None]:
    match = _PART.fullmatch(text)
    if match is None:
        raise DataError(f"data.split '{shown(spec)}' is not of the form 'train', 'train+test' or 'train[:500]'")
    return match[1], match[2], match[3]


def _row(bound: str, count: int | None, spec: str) -> int:
    percent = bound.endswith("%")
    number = int(bound.rstrip("%"))
    if count is None:
        if percent or number < 0:
            raise DataError(
                f"data.split '{shown(spec)}' needs the number of rows, which this stream does not tell: "
                "count from the start, as in 'train[:500]', or set data.streaming to false"
            )
        return number
    row = round(number * count / 100) if percent else number
    return min(max(row + count if number < 0 else row, 0), count)


def _of(count: int | None) -> str:
    return "" if count is None else f" of the {count} there are"
