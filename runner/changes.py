"""A recipe beside what an earlier run was asked to do: what differs, and what a run that goes on keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runner.hub.ids import as_path
from runner.language.as_given import at, put
from runner.language.diff import ABSENT, differences, render
from runner.language.document import Steps
from runner.language.recipe import Recipe

Change = tuple[str, Any, Any]
"""A dotted key, its value before and its value now."""

_IDS = {"id", "config"}
_PATHS = {"prompts", "init_image", "mask_image", "metadata_file"}
_NOT_THE_WORK = {"description", "compute.processes", "compute.strategy"}  # may change without making it another run
_LENGTH = {"training.max_train_steps", "training.num_train_epochs"}
_SPLIT = {"training.batch_size", "training.gradient_accumulation_steps"}
_MAY_CHANGE = {
    *("sampling", "output", "compute", *_LENGTH),
    *(
        f"training.{key}"
        for key in (
            *("sample_steps", "sample_images", "validation_prompts", "validation_loss_steps", "logging_steps"),
            *("checkpointing_steps", "checkpoints_total_limit", "gradient_checkpointing", "on_oom"),
        )
    ),
}
_MADE_ANEW = {"sampling", "output", *_LENGTH}  # what a run leaves at its end follows from these
_NAMED = 4  # changes in one sentence


def asked(recipe: Recipe) -> dict[str, Any]:
    """What a recipe asks for: the resolved values with every path absolute. Equal where the work is the same."""
    values = copy.deepcopy(recipe.values)
    for path in _places(values):
        text, folder = at(values, path), recipe.folder_of(path)
        place = as_path(text, folder) if path[-1] in _IDS else folder / Path(text).expanduser()
        put(values, path, text if place is None else str(place))
    return values


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What of `now` is not as it was `before`."""
    return [change for change in differences(before, now) if change[0] not in _NOT_THE_WORK]


def forbidden(found: Iterable[Change], now: dict[str, Any]) -> list[Change]:
    """The changes with which a run cannot go on: those of what it learns, from what and how.

    A step may be split otherwise, as long as it has the same samples: pictures of several sizes come in batches.
    """
    found = list(found)
    before, after = _samples_per_step(found, now)
    same_samples = before == after and not now.get("data", {}).get("aspect_ratio_buckets")
    allowed = _MAY_CHANGE | _SPLIT if same_samples else _MAY_CHANGE
    return [change for change in found if not _within(change, allowed)]


def made_anew(found: Iterable[Change]) -> bool:
    """Whether the model and the pictures that a run left at its end are no longer its own after these changes."""
    return any(_within(change, _MADE_ANEW) for change in found)


def told(found: list[Change]) -> str:
    """The changes in a line."""
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return ", ".join([*(render([change]) for change in found[:_NAMED]), *more])


def kept(given: Any, now: Any, before: Any, earlier: Any) -> Any:
    """A recipe's values with those of an earlier run wherever it asks as `before`: the commits of hub ids, say.

    Args:
        given: the resolved values; `now`: the same as `asked` gives them.
        before: what the earlier run was asked.
        earlier: what is to be kept of it, such as what became of that.
    """
    sides = (given, now, before, earlier)
    if all(isinstance(side, dict) for side in sides):
        keys = {**given, **earlier}
        values = {key: kept(*(side.get(key, ABSENT) for side in sides)) for key in keys}
        return {key: value for key, value in values.items() if value != ABSENT}
    if all(isinstance(side, list) and len(side) == len(given) for side in sides):
        return [kept(*entries) for entries in zip(*sides, strict=True)]
    return earlier if now == before != earlier else given


def _samples_per_step(found: list[Change], now: dict[str, Any]) -> tuple[int, int]:
    """Before and now."""
    training = now.get("training") or {}
    split = {key: training.get(key.removeprefix("training."), 1) for key in _SPLIT}
    earlier = split | {key: value for key, value, _ in found if key in _SPLIT and isinstance(value, int)}
    (a, b), (c, d) = earlier.values(), split.values()
    return a * b, c * d


def _within(change: Change, keys: set[str]) -> bool:
    parts = change[0].split(".")
    return any(".".join(parts[:length]) in keys for length in range(1, len(parts) + 1))


def _places(value: Any, path: Steps = ()) -> Iterator[Steps]:
    """The keys whose texts may be relative paths."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        if key in _IDS | _PATHS and isinstance(inner, str):
            yield (*path, key)
        else:
            yield from _places(inner, (*path, key))
