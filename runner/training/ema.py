"""The exponential moving average of the weights that learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from runner.training.state import Tensors, load_parameters


class EMA:
    """An average that follows its parameters by `decay` (diffusers' EMAModel computes the same).

    Args:
        parameters: name → parameter.
        settings: the resolved `training.ema` section.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: dict[str, Any]) -> None:
        self.settings = settings
        self.parameters = dict(parameters)
        self.average = {name: p.detach().clone() for name, p in parameters.items()}

    def decay(self, step: int) -> float:
        """The decay after optimizer step `step` (from 1): the first step takes the weights as they are."""
        s = self.settings
        age = max(0, step - s["update_after_step"] - 1)
        if age == 0:
            return 0.0
        grown = 1 - (1 + age / s["inv_gamma"]) ** -s["power"] if s["use_ema_warmup"] else (1 + age) / (10 + age)
        return max(min(grown, s["decay"]), s["min_decay"])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """average ← decay · average + (1 - decay) · parameters."""
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - self.decay(step))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold the average inside the block and their own values after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def take(self) -> None:
        """The parameters become the average, for good."""
        self._swap()

    def load(self, average: Tensors) -> None:
        """Takes over a saved average.

        Raises:
            CheckpointError: it has other names or shapes.
        """
        load_parameters(self.average, average)

    def _swap(self) -> None:
        for name, p in self.parameters.items():
            p.data, self.average[name] = self.average[name], p.data
