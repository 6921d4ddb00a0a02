"""What a checkpoint was made of and with, and whether a run may go on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runner.data.cache import Pictures
from runner.data.changed import changed
from runner.errors import DataError
from runner.language.diff import differences
from runner.models.fast import named
from runner.outputs.record import hardware, versions

_PACKAGES = ("recipe", "torch", "diffusers", "transformers", "accelerate", "peft")


@dataclass(frozen=True)
class Origin:
    """What a run learns from, and the machine that it learns on.

    Attributes:
        data: the fingerprints of all that is learned from.
        compute: the settled section.
        cache_dir: the cache root.
        allow_changes: whether it goes on with other data than it began with.
        processes: how many learn together.
    """

    data: Sequence[str]
    compute: dict[str, Any]
    cache_dir: Path
    allow_changes: bool
    processes: int = 1

    @classmethod
    def of(
        cls, pictures: Sequence[Pictures | None], compute: dict[str, Any], cache_dir: Path, allow: bool, processes: int
    ) -> Origin:
        """The origin of a run that learns from these."""
        return cls([data.fingerprint for data in pictures if data is not None], compute, cache_dir, allow, processes)

    @property
    def made_with(self) -> dict[str, Any]:
        """What decides the last bits of a result."""
        there = versions()
        return {
            **{package: there[package] for package in _PACKAGES if package in there},
            "device": f"{self.compute['device']} ({hardware(self.compute['device'])})",
            "mixed_precision": self.compute["mixed_precision"],
            "threads": torch.get_num_threads(),
            "processes": self.processes,
            "settings": ", ".join(named(self.compute)) or "none",
        }

    @property
    def values(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"data": list(self.data), "made_with": self.made_with}

    def require_same_data(self, values: dict[str, Any]) -> str:
        """Compares the data with those of a checkpoint's `values`: a sentence where they differ and may, else ''.

        Raises:
            DataError: they differ, and the run may not go on with others.
        """
        differs = changed(values["data"], list(self.data), self.cache_dir) if values["data"] != self.data else ""
        if differs == "":
            return ""
        what = "the data differ from what the run began with" + (f": {differs}" if differs else "")
        if not self.allow_changes:
            raise DataError(
                f"{what}: put them back, start anew with --fresh, or go on with the data as they are by --allow-changes"
            )
        return what

    def differing(self, values: dict[str, Any]) -> str:
        """How the machine differs from that of a checkpoint's `values`, as 'torch 2.12 → 2.13, threads 2 → 4'.

        An older checkpoint does not say all that this one would.
        """
        before = dict(values["made_with"])
        found = differences(before, {key: now for key, now in self.made_with.items() if key in before})
        return ", ".join(f"{key} {before} → {now}" for key, before, now in found)
