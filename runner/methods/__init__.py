"""What learns, and how it is kept: one file per way, and the one place that picks it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from torch import nn

from runner.methods.groups import Group
from runner.models.trainable import Trainable

__all__ = ["Group", "Method", "method_of"]


class Method(Protocol):
    """A way to learn: all unfrozen weights (`full`), or an adapter by its `adapter.type`."""

    WEIGHTS: str
    """The file that holds what was learned, in the folder that `save` writes; '' for all of the folder."""

    def attach(self, family: Trainable, values: dict[str, Any]) -> list[Group]:
        """Makes what the settled recipe says learn, and nothing else; parts that learn are in training mode.

        Raises:
            ModelError: the model has nothing of what should learn.
        """
        ...

    def mark(self, parts: Mapping[str, nn.Module], values: dict[str, Any]) -> int:
        """Has those weights of parts without memory require gradients that would learn; returns how many learn."""
        ...

    def save(self, family: Trainable, values: dict[str, Any], folder: Path) -> None:
        """Keeps what was learned in a new folder, as diffusers reads it."""
        ...


def method_of(values: dict[str, Any]) -> Method:
    """The method of a settled recipe."""
    kind = values["adapter"]["type"] if "adapter" in values else "full"
    return cast(Method, import_module(f"runner.methods.{kind}"))
