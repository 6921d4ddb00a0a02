"""Between what is to be drawn and the model that draws it: requests, generators, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from runner.data.decode import open_picture, reason, to_rgb
from runner.errors import DataError
from runner.models.family import Drawn, Family, Request
from runner.prompts.kept import Kept
from runner.sampling.shots import Cell, Shot
from runner.shown import shown


@dataclass(frozen=True)
class Picture:
    """A drawn picture: what it is of, the kept moments of its denoising, and whether it was withheld."""

    number: int
    seed: int
    prompt: str | None
    label: str | None
    cell: Cell
    image: Image.Image
    moments: list[Image.Image]
    withheld: bool


@dataclass(frozen=True)
class Inputs:
    """The pictures that a recipe starts from."""

    image: Image.Image | None = None
    mask_image: Image.Image | None = None

    @classmethod
    def of(cls, sampling: dict[str, Any]) -> Inputs:
        """Those of a settled `sampling` section.

        Raises:
            DataError: one cannot be read.
        """
        image, mask = (_opened(sampling.get(key), key) for key in ("init_image", "mask_image"))
        return cls(image, mask.convert("L") if mask is not None else None)


def _opened(path: str | None, key: str) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            return to_rgb(open_picture(file), "#ffffff")
    except Exception as error:  # pillow raises nearly anything on a broken file
        raise DataError(f"sampling.{key}: {shown(path)} {reason(error)}: give another picture") from None


def request(family: Family, shot: Shot, inputs: Inputs, kept: Kept) -> Request:
    """What the family is asked for, to draw one shot; `kept` is what the shots before made of their texts."""
    return Request(
        sampling=shot.cell.sampling,
        prompts=shot.prompts,
        copies=shot.copies,
        labels=_labels(family, shot),
        image=inputs.image,
        mask_image=inputs.mask_image,
        kept=kept,
    )


def generators(shot: Shot) -> list[torch.Generator]:
    """Picture j of every prompt has the noise of its own seed, whatever the batch size."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in shot.seeds]


def pictures(shot: Shot, drawn: Drawn, labels: list[str] | None = None) -> list[Picture]:
    """What was drawn, beside what it is of."""
    return [
        Picture(
            number=number,
            seed=shot.seeds[i],
            prompt=shot.prompt(i),
            label=labels[i] if labels is not None else None,
            cell=shot.cell,
            image=drawn.images[i],
            moments=drawn.moments[i] if drawn.moments else [],
            withheld=i in drawn.withheld,
        )
        for i, number in enumerate(shot.numbers)
    ]


def _labels(family: Family, shot: Shot) -> list[int] | None:
    """The class of each picture: those asked for, or all, in turn."""
    classes = family.facts.classes
    if not classes:
        return None
    wanted = [classes.index(name) for name in shot.cell.sampling["labels"] or classes]
    return [wanted[(shot.place + i) % len(wanted)] for i in range(len(shot.seeds))]
