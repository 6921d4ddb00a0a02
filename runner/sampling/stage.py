"""The one sampling stage: pictures in batches, each with its own seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from runner.diffusion.denoise import Tick
from runner.models.family import Family, Request


@dataclass(frozen=True)
class Picture:
    """A drawn picture: its number, its seed, its class, and the kept moments of its denoising."""

    number: int
    seed: int
    label: str | None
    image: Image.Image
    moments: list[Image.Image]


def draw(family: Family, sampling: dict[str, Any], *, numbers: range, tick: Tick) -> Iterator[list[Picture]]:
    """Draws pictures batch by batch.

    Picture j has the noise of `torch.Generator("cpu").manual_seed(seed + j)`, whatever the batch size, and the classes
    are taken in turn.

    Args:
        family: the model.
        sampling: the settled `sampling` section; its `seed` is picture 0's.
        numbers: which pictures.
        tick: called after each denoising step.
    """
    size, seed = sampling["batch_size"], sampling["seed"]
    for start in range(numbers.start, numbers.stop, size):
        batch = range(start, min(start + size, numbers.stop))
        labels = _labels(family, sampling, batch)
        generators = [torch.Generator("cpu").manual_seed(seed + j) for j in batch]
        drawn = family.draw(_request(sampling, labels), generators, tick)
        yield [
            Picture(
                number=j,
                seed=seed + j,
                label=family.facts.classes[labels[i]] if labels is not None else None,
                image=drawn.images[i],
                moments=drawn.moments[i] if drawn.moments else [],
            )
            for i, j in enumerate(batch)
        ]


def _labels(family: Family, sampling: dict[str, Any], numbers: range) -> list[int] | None:
    """The class of each picture: those asked for, or all, in turn."""
    classes = family.facts.classes
    if not classes:
        return None
    wanted = [classes.index(name) for name in sampling["labels"] or classes]
    return [wanted[j % len(wanted)] for j in numbers]


def calls(family: Family, sampling: dict[str, Any], count: int) -> int:
    """How often `tick` is called to draw `count` pictures."""
    return -(-count // sampling["batch_size"]) * family.calls(_request(sampling, None))


def _request(sampling: dict[str, Any], labels: list[int] | None) -> Request:
    return Request(
        labels=labels,
        num_inference_steps=sampling["num_inference_steps"],
        guidance_scale=sampling["guidance_scale"],
        eta=sampling["eta"],
        scheduler=sampling.get("scheduler"),
        moments=sampling["trajectory"],
    )
