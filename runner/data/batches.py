"""Batches whose every random choice is a function of (seed, global sample number).

Sample number s counts the pictures seen since the run began. Its picture, crop, flip, noise, timestep and label
dropout follow from the recipe's seed and s alone, so they do not depend on batch size, accumulation, workers or on
where a run was stopped and taken up again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from runner.data.cache import Pictures
from runner.data.transforms import augment

NOISE, AUGMENT, ORDER = 0, 1, 2  # independent streams of the same seed
NO_CLASS = -1
_AUGMENTATION = ("resolution", "center_crop", "random_flip", "color_jitter")


def rng(seed: int, stream: int, number: int) -> np.random.Generator:
    """A counter-based generator (Philox, Salmon et al. 2011): the same numbers for the same three arguments."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, number, 0, 0]))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One forward pass: everything that chance decides is in it.

    Attributes:
        pixels: uint8 (B, 3, H, W); None where `moments` are given.
        moments: mean and standard deviation of the pictures' latents, (B, 2, C, h, w); None where pixels are given.
        posterior: standard normal (B, C, h, w) that samples the VAE's moments; None where diffusion happens on pixels.
        eps: the noise, float32 (B, C, h, w), of the shape in which diffusion happens.
        perturbed: the noise that pictures are mixed with where that differs from `eps`, the one asked for; else None.
        u: uniform numbers in [0, 1) that choose the timesteps, (B,).
        weight: each sample's share of its optimizer step's loss, (B,).
        labels: class indices (B,), NO_CLASS where withheld or unknown; None for a model without classes.
        captions: a text per sample; () for a model without text.
        text: the captions' embeddings, a row per sample; {} where they are embedded anew.
        sizes: int64 (B, 6): height and width before scaling, top and left of the crop in the scaled picture (mirrored
            where the sample is), height and width of the crop (Podell et al. 2023, section 2.2).
        first: the global number of the first sample.
    """

    eps: Tensor
    u: Tensor
    weight: Tensor
    sizes: Tensor
    first: int
    pixels: Tensor | None = None
    moments: Tensor | None = None
    posterior: Tensor | None = None
    perturbed: Tensor | None = None
    labels: Tensor | None = None
    captions: tuple[str, ...] = ()
    text: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.eps)

    def to(self, device: torch.device) -> Self:
        """The batch on `device`, copied without waiting where that is possible."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
        moved["text"] = {name: rows.to(device, non_blocking=True) for name, rows in self.text.items()}
        return type(self)(**moved)


@dataclass(frozen=True)
class Work:
    """How many samples a run sees and how they are split.

    The last optimizer step may be smaller than the others (num_train_epochs); each sample still counts the same.
    """

    samples: int
    batch_size: int
    gradient_accumulation_steps: int

    @classmethod
    def of(cls, training: dict[str, Any], samples_per_epoch: int) -> Self:
        """The work of a resolved `training` section on data that an epoch shows so many samples of."""
        batch, accumulation = training["batch_size"], training["gradient_accumulation_steps"]
        epochs, steps = training["num_train_epochs"], training["max_train_steps"]
        return cls(epochs * samples_per_epoch if epochs else steps * batch * accumulation, batch, accumulation)

    @property
    def samples_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def steps(self) -> int:
        return -(-self.samples // self.samples_per_step)

    def micro_batches(self, step: int) -> list[range]:
        """The sample numbers of each forward pass of optimizer step `step` (from 0)."""
        start = step * self.samples_per_step
        stop = min(start + self.samples_per_step, self.samples)
        return [range(a, min(a + self.batch_size, stop)) for a in range(start, stop, self.batch_size)]


class Batches:
    """The batches of a run, in order, from any step.

    Args:
        pictures: the prepared data.
        work: how samples are split into steps.
        data: the resolved `data` section (its augmentation).
        seed: the recipe's seed.
        sample_shape: the shape of one sample's noise, such as (3, 64, 64).
        noise_offset: the weight of noise that is constant over each channel (Guttenberg 2023).
        label_dropout_rate: how often a label is withheld; None for a model without classes.
        workers: threads that prepare batches ahead; 0 prepares each when it is asked for.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        work: Work,
        data: dict[str, Any],
        seed: int,
        sample_shape: tuple[int, ...],
        noise_offset: float,
        label_dropout_rate: float | None,
        workers: int,
    ) -> None:
        self.pictures = pictures
        self.work = work
        self.seed = seed
        self.sample_shape = sample_shape
        self.noise_offset = noise_offset
        self.label_dropout_rate = label_dropout_rate
        self.workers = workers
        # Built-in flowers have no crop to choose, and jitter is a group that may be absent.
        self._augmentation = {"center_crop": True, "color_jitter": None} | {
            k: data[k] for k in _AUGMENTATION if k in data
        }
        self._order = lru_cache(maxsize=4)(self._permutation)

    def from_step(self, step: int) -> Iterator[list[Batch]]:
        """The forward passes of each optimizer step from `step` on, prepared ahead by `workers` threads."""
        plans = (self.work.micro_batches(s) for s in range(step, self.work.steps))
        if not self.workers:
            for plan in plans:
                yield [self.batch(numbers) for numbers in plan]
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as pool:
            yield from _ahead(pool, self, plans)

    def batch(self, numbers: range) -> Batch:
        """The samples of these global numbers."""
        samples = [self._sample(s) for s in numbers]
        pixels = np.stack([pixels for pixels, *_ in samples]).transpose(0, 3, 1, 2)
        step = numbers.start // self.work.samples_per_step
        in_step = sum(len(r) for r in self.work.micro_batches(step))
        labels = torch.tensor([label for *_, label in samples]) if self.label_dropout_rate is not None else None
        return Batch(
            pixels=torch.from_numpy(np.ascontiguousarray(pixels)),
            eps=torch.from_numpy(np.stack([eps for _, eps, *_ in samples])),
            u=torch.tensor([u for _, _, u, _ in samples], dtype=torch.float32),
            weight=torch.full((len(samples),), 1 / in_step),
            labels=labels,
            sizes=torch.zeros(len(samples), 6, dtype=torch.int64),
            first=numbers.start,
        )

    def index(self, number: int) -> int:
        """Which picture sample `number` shows: each epoch sees every picture once, in a new order."""
        epoch, place = divmod(number, len(self.pictures))
        return int(self._order(epoch)[place])

    def _sample(self, number: int) -> tuple[np.ndarray, np.ndarray, float, int]:
        index = self.index(number)
        pixels = augment(self.pictures[index], rng(self.seed, AUGMENT, number), **self._augmentation)
        noise = rng(self.seed, NOISE, number)
        u, drop = noise.random(), noise.random()
        eps = noise.standard_normal(self.sample_shape, dtype=np.float32)
        if self.noise_offset:
            channels = (self.sample_shape[0], *[1] * (len(self.sample_shape) - 1))
            eps += np.float32(self.noise_offset) * noise.standard_normal(channels, dtype=np.float32)
        return pixels, eps, u, self._label(index, drop)

    def _label(self, index: int, drop: float) -> int:
        rate, labels = self.label_dropout_rate, self.pictures.labels
        if rate is None or labels is None or drop < rate:
            return NO_CLASS
        return int(labels[index])

    def _permutation(self, epoch: int) -> np.ndarray:
        return rng(self.seed, ORDER, epoch).permutation(len(self.pictures))


def _ahead(pool: ThreadPoolExecutor, batches: Batches, plans: Iterator[list[range]]) -> Iterator[list[Batch]]:
    """Each step's batches, while the threads of `pool` prepare those of the next steps."""
    waiting: list[list[Future[Batch]]] = []
    for plan in chain(plans, [None] * batches.workers):
        if plan is not None:
            waiting.append([pool.submit(batches.batch, numbers) for numbers in plan])
            if len(waiting) <= batches.workers:
                continue
        if waiting:
            yield [future.result() for future in waiting.pop(0)]
