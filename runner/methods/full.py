"""The weights that are not frozen learn themselves."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from runner.methods.groups import Group, groups, learning
from runner.models.trainable import Trainable

WEIGHTS = ""


def attach(family: Trainable, values: dict[str, Any]) -> list[Group]:
    """See `Method.attach`."""
    mark(family.parts, values)
    return groups(family, values["training"])


def mark(parts: Mapping[str, nn.Module], values: dict[str, Any]) -> int:
    """See `Method.mark`."""
    for name, part in parts.items():
        for key, parameter in part.named_parameters():
            parameter.requires_grad_(not frozen(f"{name}.{key}", values["freeze"]))
    return learning(parts.values())


def save(family: Trainable, values: dict[str, Any], folder: Path) -> None:  # noqa: ARG001 - all of the model is kept
    """See `Method.save`: the whole model."""
    family.save(folder)


def frozen(name: str, patterns: list[str]) -> bool:
    """Whether a parameter lies in what is frozen.

    Args:
        name: '<part>.<path of modules>.<parameter>'.
        patterns: names of parts and globs of modules, as `freeze` has them; all below a match is frozen.
    """
    steps = name.split(".")
    above = (".".join(steps[:i]) for i in range(1, len(steps) + 1))
    return any(fnmatchcase(module, pattern) for module in above for pattern in patterns)
