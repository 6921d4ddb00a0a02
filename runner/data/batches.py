"""Batches whose every random choice is a function of (seed, global sample number).

Sample number s counts the pictures seen since the run began. Its picture, crop, flip, noise, timestep, text and label
dropout follow from the recipe's seed and s alone, so they do not depend on batch size, accumulation, workers or on
where a run was stopped and taken up again. (With pictures of several sizes, their order depends on the batch size.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

import torch

from runner.data.batch import NO_CLASS as NO_CLASS
from runner.data.batch import Batch as Batch
from runner.data.cache import Pictures
from runner.data.draws import PRIOR_ORDER
from runner.data.embeddings import Embeddings
from runner.data.latents import Latents
from runner.data.order import Order
from runner.data.prior import Prior
from runner.data.samples import DATA, PRIOR, Choices, Sample, Sampler, collate
from runner.data.texts import Texts

VALIDATION_TIMES = 4
"""How many timesteps each held-out picture is looked at."""


@dataclass(frozen=True)
class Work:
    """How many samples a run sees and how they are split, in one process or among several.

    The last optimizer step may be smaller than the others (num_train_epochs); each sample still counts the same.

    Attributes:
        rank: the process whose share this is, one of `processes`.
    """

    samples: int
    batch_size: int
    gradient_accumulation_steps: int
    rank: int = 0
    processes: int = 1

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

    def of_step(self, step: int) -> range:
        """The sample numbers of optimizer step `step` (from 0), in all processes."""
        start = step * self.samples_per_step
        return range(start, min(start + self.samples_per_step, self.samples))

    def is_smaller(self, step: int) -> bool:
        """Whether optimizer step `step` has fewer samples than others."""
        return len(self.of_step(step)) < self.samples_per_step

    def micro_batches(self, step: int) -> list[range]:
        """The sample numbers of each forward pass of optimizer step `step` in this process.

        Each process has as many: the last ones are empty where its share is smaller.
        """
        shares = [self._share(step, rank) for rank in range(self.processes)]
        own, most = shares[self.rank], max(map(len, shares))
        return own + [range(self.of_step(step).start, self.of_step(step).start)] * (most - len(own))

    def shared(self, rank: int, processes: int) -> Self:
        """The share of one process in the same steps of the same samples."""
        return replace(self, rank=rank, processes=processes)

    def _share(self, step: int, rank: int) -> list[range]:
        """A process's part of a step, cut where one process alone cuts it: there pictures may change their size."""
        whole, size = self.of_step(step), self.batch_size
        start, stop = (whole.start + len(whole) * part // self.processes for part in (rank, rank + 1))
        first = whole.start + (start - whole.start) // size * size
        return [range(max(a, start), min(a + size, stop)) for a in range(first, stop, size)] if stop > start else []

    def split(self, batch_size: int) -> Self:
        """The same steps of the same samples in micro-batches of `batch_size`, which divides this one's."""
        return replace(self, batch_size=batch_size, gradient_accumulation_steps=self.samples_per_step // batch_size)

    def smaller(self) -> Self:
        """The same steps in micro-batches of the next smaller divisor of this one's size, which is above 1."""
        return self.split(max(size for size in range(1, self.batch_size) if self.batch_size % size == 0))


class Batches:
    """The batches of a run, in order, from any step.

    Args:
        pictures: the prepared data.
        work: how samples are split into steps; it may be split smaller between two steps.
        data: the resolved `data` section (its augmentation).
        seed: the recipe's seed.
        shape: the shape (C, h, w) of one sample's noise for pictures of a height and width.
        noise_offset: the weight of noise that is constant over each channel (Guttenberg 2023).
        label_dropout_rate: how often a label is withheld; None for a model without classes.
        workers: threads that prepare batches ahead; 0 prepares each when it is asked for.
        order: which pictures are shown when; None for all of them, in the order that the seed gives.
        texts: the samples' captions; None for a model without text.
        latents: those of `pictures`; None to show pixels.
        embeddings: those of all texts; None to hand on captions only.
        posterior: whether samples of the VAE's moments are drawn.
        input_perturbation: how much of other noise is added to what pictures are mixed with (Ning et al. 2023).
        prior: what follows each micro-batch, row for row; None for nothing.
        pin_for: the GPU that batches are copied to, which finds them in pinned memory; None without one.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        work: Work,
        data: dict[str, Any],
        seed: int,
        shape: Callable[[int, int], tuple[int, ...]],
        noise_offset: float,
        label_dropout_rate: float | None,
        workers: int,
        order: Order | None = None,
        texts: Texts | None = None,
        latents: Latents | None = None,
        embeddings: Embeddings | None = None,
        posterior: bool = False,
        input_perturbation: float = 0.0,
        prior: Prior | None = None,
        pin_for: torch.device | None = None,
    ) -> None:
        self.work = work
        self.workers = workers
        self._pin_for = pin_for
        self.order = order or Order(pictures, work.batch_size, seed)
        choices = Choices(data, seed, shape, noise_offset, label_dropout_rate, posterior, input_perturbation)
        self._pictures = pictures
        self._sampler = Sampler(pictures, latents, choices, DATA)
        self._texts, self._embeddings, self._prior = texts, embeddings, prior
        if prior is not None:
            self._prior_sampler = Sampler(prior.pictures, prior.latents, choices, PRIOR)
            self._prior_order = Order(prior.pictures, 1, seed, stream=PRIOR_ORDER)

    def from_step(self, step: int) -> Iterator[list[Batch]]:
        """The forward passes of each optimizer step from `step` on, prepared ahead by `workers` threads."""
        plans = (self.work.micro_batches(s) for s in range(step, self.work.steps))
        if not self.workers:
            for plan in plans:
                yield [batch for numbers in plan for batch in self.ready(numbers)]
            return
        with ThreadPoolExecutor(self.workers, "batches", self._on_its_gpu) as pool:
            yield from _ahead(pool, self, plans)

    def ready(self, numbers: range) -> list[Batch]:
        """`batches`, in pinned memory where they go to a GPU."""
        made = self.batches(numbers)
        return [batch.pinned() for batch in made] if self._pin_for is not None else made

    def _on_its_gpu(self) -> None:
        """Each thread has a current GPU of its own, at first the first, and pinning for another takes room there."""
        if self._pin_for is not None and self._pin_for.index is not None:
            torch.cuda.set_device(self._pin_for)

    def batches(self, numbers: range) -> list[Batch]:
        """The samples of these global numbers and their prior pictures: one batch, or one for each size of picture.

        Weights are such that the mean of the processes' sums is the mean over the step. No numbers are one sample
        that weighs nothing: who has none takes part in the step all the same.
        """
        step = numbers.start // self.work.samples_per_step
        weight = self.work.processes / len(self.work.of_step(step))
        if not numbers:
            numbers, weight = range(numbers.start, numbers.start + 1), 0.0
        samples = [self._sample(number, weight) for number in numbers]
        if self._prior is not None:
            samples += [self._prior_sample(number, weight * self._prior.weight) for number in numbers]
        return collate(samples, numbers.start)

    def validation(self, indices: Sequence[int]) -> Iterator[Batch]:
        """The same batches each time: these pictures plainly, at fixed timesteps and noise; weights add up to 1."""
        weight = 1 / (len(indices) * VALIDATION_TIMES)
        by_size = sorted(map(int, indices), key=lambda i: (*self._pictures.sizes[i], i))
        rows = [(index, part) for index in by_size for part in range(VALIDATION_TIMES)]
        for start in range(0, len(rows), self.work.batch_size):
            samples = []
            for index, part in rows[start : start + self.work.batch_size]:
                sample = self._sampler.fixed(index, part, VALIDATION_TIMES, weight)
                samples.append(self._told(sample, self._texts.plain(index)) if self._texts else sample)
            yield from collate(samples, start)

    def _sample(self, number: int, weight: float) -> Sample:
        index = self.order.index(number)
        sample = self._sampler.sample(index, number, weight)
        if self._texts is None:
            return sample
        orders = self._embeddings.orders if self._embeddings is not None else None
        return self._told(sample, self._texts.text(index, number, orders))

    def _prior_sample(self, number: int, weight: float) -> Sample:
        assert self._prior is not None
        sample = self._prior_sampler.sample(self._prior_order.index(number), number, weight)
        return self._told(sample, self._prior.prompt)

    def _told(self, sample: Sample, caption: str) -> Sample:
        text = self._embeddings[caption] if self._embeddings is not None else {}
        return replace(sample, caption=caption, text=text)


def _ahead(pool: ThreadPoolExecutor, batches: Batches, plans: Iterator[list[range]]) -> Iterator[list[Batch]]:
    """Each step's batches, while the threads of `pool` prepare those of the next steps."""
    waiting: list[list[Future[list[Batch]]]] = []
    for plan in chain(plans, [None] * batches.workers):
        if plan is not None:
            waiting.append([pool.submit(batches.ready, numbers) for numbers in plan])
            if len(waiting) <= batches.workers:
                continue
        if waiting:
            yield [batch for future in waiting.pop(0) for batch in future.result()]
