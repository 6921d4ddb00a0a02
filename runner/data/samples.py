"""One sample: a look at a picture with the noise and the numbers drawn for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runner.data import draws
from runner.data.batch import NO_CLASS, Batch
from runner.data.cache import Pictures
from runner.data.draws import VALIDATION, rng
from runner.data.latents import Latents
from runner.data.views import Views


class Streams(NamedTuple):
    """Which streams of a seed the draws of a sample come from."""

    noise: int
    augment: int
    posterior: int
    perturb: int
    variant: int


DATA = Streams(draws.NOISE, draws.AUGMENT, draws.POSTERIOR, draws.PERTURB, draws.VARIANT)
PRIOR = Streams(draws.PRIOR_NOISE, draws.PRIOR_AUGMENT, draws.PRIOR_POSTERIOR, draws.PRIOR_PERTURB, draws.PRIOR_VARIANT)


@dataclass(frozen=True)
class Choices:
    """What samples hold: see `Batches`, whose arguments these are."""

    data: Mapping[str, Any]
    seed: int
    shape: Callable[[int, int], tuple[int, ...]]
    noise_offset: float
    label_dropout_rate: float | None
    posterior: bool
    input_perturbation: float


@dataclass(frozen=True)
class Sample:
    """A row of a batch, its fields as there."""

    eps: np.ndarray
    u: float
    weight: float
    sizes: tuple[int, ...]
    pixels: np.ndarray | None = None
    moments: Tensor | None = None
    posterior: np.ndarray | None = None
    perturbed: np.ndarray | None = None
    label: int | None = None
    caption: str | None = None
    text: dict[str, Tensor] = field(default_factory=dict)


class Sampler:
    """Makes the samples of some pictures.

    Args:
        pictures: the prepared data.
        latents: theirs, or None to show pixels.
        streams: where the draws come from.
    """

    def __init__(self, pictures: Pictures, latents: Latents | None, choices: Choices, streams: Streams) -> None:
        self._pictures, self._latents, self._choices, self._streams = pictures, latents, choices, streams
        self._views = Views(pictures, choices.data)

    def sample(self, index: int, number: int, weight: float) -> Sample:
        """Sample `number`, which shows picture `index`."""
        seed, streams = self._choices.seed, self._streams
        noise = rng(seed, streams.noise, number)
        u, drop = noise.random(), noise.random()
        look = self._look(index, rng(seed, streams.augment, number), number)
        shape = self._choices.shape(*look["sizes"][4:])
        eps = noise.standard_normal(shape, dtype=np.float32)
        if self._choices.noise_offset:
            channels = (shape[0], *[1] * (len(shape) - 1))
            eps += np.float32(self._choices.noise_offset) * noise.standard_normal(channels, dtype=np.float32)
        posterior = perturbed = None
        if self._choices.posterior:
            posterior = rng(seed, streams.posterior, number).standard_normal(shape, dtype=np.float32)
        if self._choices.input_perturbation:
            extra = rng(seed, streams.perturb, number).standard_normal(shape, dtype=np.float32)
            perturbed = eps + np.float32(self._choices.input_perturbation) * extra
        label = self._label(index, drop)
        return Sample(eps, u, weight, posterior=posterior, perturbed=perturbed, label=label, **look)

    def fixed(self, index: int, part: int, parts: int, weight: float) -> Sample:
        """The plain middle of a picture at the `part`-th of `parts` even timesteps, the same at every step of a run."""
        noise = rng(self._choices.seed, VALIDATION, index * parts + part)
        look = self._plain(index)
        shape = self._choices.shape(*look["sizes"][4:])
        eps = noise.standard_normal(shape, dtype=np.float32)
        posterior = noise.standard_normal(shape, dtype=np.float32) if self._choices.posterior else None
        return Sample(eps, (part + 0.5) / parts, weight, posterior=posterior, label=self._label(index, 1.0), **look)

    def _look(self, index: int, augment: np.random.Generator, number: int) -> dict[str, Any]:
        if self._latents is None:
            view = self._views.drawn(index, augment)
            return {"pixels": view.pixels, "sizes": view.sizes}
        chooses = rng(self._choices.seed, self._streams.variant, number)
        moments, sizes = self._latents.draw(index, augment, chooses)
        return {"moments": moments, "sizes": sizes}

    def _plain(self, index: int) -> dict[str, Any]:
        if self._latents is None:
            view = self._views.plain(index)
            return {"pixels": view.pixels, "sizes": view.sizes}
        moments, sizes = self._latents.plain(index)
        return {"moments": moments, "sizes": sizes}

    def _label(self, index: int, drop: float) -> int | None:
        rate, labels = self._choices.label_dropout_rate, self._pictures.labels
        if rate is None:
            return None
        return NO_CLASS if labels is None or drop < rate else int(labels[index])


def collate(samples: Sequence[Sample], first: int) -> list[Batch]:
    """Batches of these samples in their order; a new one begins where the size changes."""
    batches = []
    for _, group in groupby(samples, key=lambda sample: sample.sizes[4:]):
        batches.append(_batch(list(group), first))
        first += len(batches[-1])
    return batches


def _batch(samples: list[Sample], first: int) -> Batch:
    one = samples[0]
    pixels = mirrored = moments = None
    if one.moments is None:
        pixels, mirrored = stacked([s.pixels for s in samples if s.pixels is not None])
    else:
        moments = torch.stack([s.moments for s in samples if s.moments is not None])
    return Batch(
        eps=torch.from_numpy(np.stack([s.eps for s in samples])),
        u=torch.tensor([s.u for s in samples], dtype=torch.float32),
        weight=torch.tensor([s.weight for s in samples], dtype=torch.float32),
        sizes=torch.tensor([s.sizes for s in samples], dtype=torch.int64),
        first=first,
        pixels=pixels,
        mirrored=mirrored,
        moments=moments,
        posterior=_noises([s.posterior for s in samples if s.posterior is not None]),
        perturbed=_noises([s.perturbed for s in samples if s.perturbed is not None]),
        labels=None if one.label is None else torch.tensor([s.label for s in samples]),
        captions=tuple(s.caption for s in samples if s.caption is not None),
        text={name: torch.stack([s.text[name] for s in samples]) for name in one.text},
    )


def stacked(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Pictures as `Batch.pixels`, and which of them are to be mirrored there, as `Batch.mirrored`.

    They lie in memory as they did, the channels last: neither this nor mirroring is worth a CPU's time, which torch
    and the device do in a twentieth of it.

    Args:
        arrays: uint8 (H, W, 3); views that mirror what they are of become mirrored pictures.
    """
    mirrored = [array.strides[1] < 0 for array in arrays]
    lying = np.empty((len(arrays), *arrays[0].shape), np.uint8)
    for i, array in enumerate(arrays):
        lying[i] = array[:, ::-1] if mirrored[i] else array
    return torch.from_numpy(lying).permute(0, 3, 1, 2), torch.tensor(mirrored) if any(mirrored) else None


def _noises(arrays: list[np.ndarray]) -> Tensor | None:
    return torch.from_numpy(np.stack(arrays)) if arrays else None
