"""The axes of a contact sheet: what its rows and columns are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product, takewhile
from typing import Any

from runner.outputs.letters import legible
from runner.sampling.shots import seeds

_UNSAID = {"type", "prediction_type", "use_flow_sigmas"}  # the last two say what kind of model it is
_LONG = 60  # characters of a text that may not fit beside a picture
_SHARED = 24  # characters of a beginning that is worth leaving out
_KEPT = 2  # words of it


def axes(sampling: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The labels of the rows and of the columns, in the order in which the pictures are drawn.

    The matrix's keys come first, then the prompts and the seeds where there are several. The first of these axes go
    down, the others across, so that the sheet is about as wide as high. Where several go one way, what the row or
    column before has said already is not said again. Of long texts that begin alike the beginning is left out. A text
    in letters that cannot be drawn (see `legible`) is called by its number, as 'prompt 2'.
    """
    found = [_labels(key, values) for key, values in sampling["matrix"].items()]
    prompts = sampling.get("prompts") or []
    if len(prompts) > 1:
        found.append(_texts(prompts, "prompt", ""))
    if "seed" not in sampling["matrix"] and len(each := seeds(sampling)) > 1:
        found.append([f"seed {seed}" for seed in each])
    elif sampling["num_images"] > 1:
        found.append([f"picture {j + 1}" for j in range(sampling["num_images"])])
    split = _split([len(labels) for labels in found])
    return _joined(found[:split]), _joined(found[split:])


def _split(lengths: Sequence[int]) -> int:
    """How many of the axes go down: at least one goes across, and of equal splits the one with more rows is taken."""

    def oblong(down: int) -> float:
        return abs(math.log(math.prod(lengths[:down]) / math.prod(lengths[down:])))

    return min(reversed(range(len(lengths))), key=oblong)


def _joined(along: Sequence[Sequence[str]]) -> list[str]:
    """The labels along one edge, each from the first part in which it differs from the one before."""
    found: list[str] = []
    before: tuple[str, ...] = ()
    for parts in product(*along):
        same = _common(before, parts)
        found.append(", ".join(parts[min(same, len(parts) - 1) :]))
        before = parts
    return found


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many entries both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _labels(key: str, values: Sequence[Any]) -> list[str]:
    if key == "negative_prompt":
        return _texts(values, "negative prompt", "negative: ")
    if key == "scheduler":
        return [_sampler(value) for value in values]
    return [_option(key, value) for value in values]


def _sampler(section: dict[str, Any]) -> str:
    return ", ".join([section["type"], *(_option(key, value) for key, value in section.items() if key not in _UNSAID)])


def _option(name: str, value: Any) -> str:
    words = name.removeprefix("num_").replace("_", " ")
    if value is True:
        return words
    return f"{words} {'none' if value is None else str(value).lower() if value is False else value}"


def _texts(texts: Sequence[str], name: str, before: str) -> list[str]:
    found = []
    for number, text in enumerate(_told_apart(texts), 1):
        drawn = legible(text)
        found.append(f"{name} {number}" if drawn is None else f"{before}{drawn}" if drawn else f"no {name}")
    return found


def _told_apart(texts: Sequence[str]) -> list[str]:
    """Texts of which the long ones do without most of the words with which another begins as well."""
    words = [tuple(text.split()) for text in texts]
    shared = dict.fromkeys(words, 0)
    for one, next_ in pairwise(sorted(shared)):
        same = _common(one, next_)
        shared[one], shared[next_] = max(shared[one], same), max(shared[next_], same)
    return [_shortened(each, min(shared[each], len(each) - 1)) for each in words]


def _shortened(words: tuple[str, ...], same: int) -> str:
    text = " ".join(words)
    if len(text) <= _LONG or len(" ".join(words[_KEPT : same - 1])) < _SHARED:
        return text
    return " ".join([*words[:_KEPT], "…", *words[same - 1 :]])
