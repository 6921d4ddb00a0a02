"""The axes of a contact sheet: what its rows and columns are called."""

from __future__ import annotations

from itertools import product
from typing import Any

from runner.sampling.shots import seeds

_UNSAID = {"type", "prediction_type", "use_flow_sigmas"}  # the last two say what kind of model it is


def axes(sampling: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The labels of the rows and of the columns, in the order in which the pictures are drawn.

    The matrix's keys come first, then the prompts and the seeds where there are several. The last axis goes across,
    the others go down.
    """
    found = [[_label(key, value) for value in values] for key, values in sampling["matrix"].items()]
    prompts = sampling.get("prompts") or []
    if len(prompts) > 1:
        found.append(list(prompts))
    if "seed" not in sampling["matrix"] and len(each := seeds(sampling)) > 1:
        found.append([f"seed {seed}" for seed in each])
    elif sampling["num_images"] > 1:
        found.append([f"picture {j + 1}" for j in range(sampling["num_images"])])
    *down, across = found
    return [", ".join(row) for row in product(*down)], across


def _label(key: str, value: Any) -> str:
    if key == "scheduler":
        options = [_option(name, inner) for name, inner in value.items() if name not in _UNSAID]
        return ", ".join([value["type"], *options])
    return str(value) if isinstance(value, str) else _option(key, value)


def _option(name: str, value: Any) -> str:
    words = name.removeprefix("num_").replace("_", " ")
    if value is True:
        return words
    return f"{words} {'none' if value is None else str(value).lower() if value is False else value}"
