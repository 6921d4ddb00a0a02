"""Which pictures differ between two preparations of a run's data, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runner.data.store import Store
from runner.shown import shown

_NAMED = 5  # of each kind in one sentence
_Names = dict[tuple[int, str], int]  # origin and name -> number


def changed(before: list[str], now: list[str], cache_dir: Path) -> str | None:
    """What differs, as '2 removed (a.png, b.png), 1 changed (c.png)'.

    Files may have been copied or touched, and hold what they did: such are no difference.

    Args:
        before: the fingerprints of the data then; `now` those of today, whose pictures are in the cache.

    Returns:
        '' where nothing differs; None where the pictures of then are no longer in the cache.
    """
    if len(before) != len(now):
        return None
    found: dict[str, list[str]] = {"removed": [], "added": [], "changed": []}
    for old_key, new_key in zip(before, now, strict=True):
        if old_key == new_key:
            continue
        old, new = (Store.open(cache_dir / "pictures" / key) for key in (old_key, new_key))
        if old is None or new is None:
            return None
        for kind, name in _differing(old, new):
            found[kind].append(name)
    return ", ".join(_counted(kind, names) for kind, names in found.items() if names)


def _differing(old: Store, new: Store) -> Iterator[tuple[str, str]]:
    numbers, others = _names(old), _names(new)
    for key, i in numbers.items():
        if key not in others:
            yield "removed", key[1]
        elif not _same(old, i, new, others[key]):
            yield "changed", key[1]
    yield from (("added", name) for origin, name in others if (origin, name) not in numbers)
    if old.classes != new.classes:
        yield "changed", "the classes"


def _names(store: Store) -> _Names:
    return {(int(store.index["origin"][i]), store.text(i)[0]): i for i in range(len(store))}


def _same(old: Store, i: int, new: Store, j: int) -> bool:
    """Whether two pictures have equal captions, labels, sizes and pixels."""
    facts = (name for name in old.index if name not in ("offset", "text"))
    alike = old.text(i) == new.text(j) and all(old.index[name][i] == new.index[name][j] for name in facts)
    return alike and np.array_equal(old.pixels(i), new.pixels(j))


def _counted(kind: str, names: list[str]) -> str:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return f"{len(names)} {kind} ({', '.join([*(shown(name, 100) for name in names[:_NAMED]), *more])})"
