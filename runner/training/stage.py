"""The training stage: puts model, method, data and loop together, and keeps what the run makes on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator

from runner.data.batches import Batches, Work
from runner.data.cache import Pictures
from runner.diffusion.objectives import denoise
from runner.errors import CheckpointError, DataError, Interrupted
from runner.methods.full import attach
from runner.models.family import Trainable
from runner.outputs.folder import RunFolder
from runner.progress import Bar, Progress, Smoothed, memory
from runner.signals import Stop
from runner.training import checkpoints
from runner.training.loop import Logged, Trainer, train

_DATA = "data_fingerprint"  # what a checkpoint's values call it


def run_training(
    family: Trainable,
    pictures: Pictures,
    values: dict[str, Any],
    *,
    accelerator: Accelerator,
    folder: RunFolder,
    progress: Progress,
    stop: Stop,
    has_grid: Callable[[int], bool],
    draw_grid: Callable[[int], None],
) -> None:
    """Trains to the end, from the newest whole checkpoint if there is one; the family then holds the average.

    Args:
        family: the model.
        pictures: the prepared data.
        values: the settled recipe.
        accelerator: device and number format.
        folder: the run's folder.
        progress: the display.
        stop: the signals.
        has_grid: whether the grid of a step was kept.
        draw_grid: draws and keeps the grid of a step; may raise Interrupted.

    Raises:
        CheckpointError: no checkpoint is whole. DataError: the pictures changed since the run was stopped.
        Diverged, EnvironmentFault: as the loop and the checkpoints say.
        Interrupted: after a checkpoint was written.
    """
    training = values["training"]
    work = Work.of(training, len(pictures))
    if training["gradient_checkpointing"]:
        for part in family.parts.values():
            cast(Any, part).enable_gradient_checkpointing()
    trainer = Trainer(family, attach(family, values.get("freeze", [])), training, accelerator, work.steps)
    keeper = _Keeper(training, work, pictures.fingerprint, folder, progress, stop, has_grid, draw_grid)
    keeper.resume(trainer)
    batches = Batches(
        pictures,
        work=work,
        data=values["data"],
        seed=values["seed"],
        sample_shape=family.sample_shape,
        noise_offset=training["noise_offset"],
        label_dropout_rate=training["label_dropout_rate"] if family.facts.classes else None,
        workers=values["compute"]["dataloader_num_workers"],
    )
    objective = partial(denoise, snr_gamma=training["snr_gamma"])
    with progress.bar("Train", work.steps, unit="step", start=trainer.step) as bar, stop.deferred():
        keeper.bar = bar
        train(trainer, objective, batches, keeper, values["seed"])
    if trainer.ema is not None:
        trainer.ema.take()
    for part in family.parts.values():
        part.requires_grad_(False)
        part.eval()


@dataclass
class _Keeper:
    """The loop's hooks: log lines, checkpoints, grids, and stopping after a signal."""

    training: dict[str, Any]
    work: Work
    data: str
    folder: RunFolder
    progress: Progress
    stop: Stop
    has_grid: Callable[[int], bool]
    draw_grid: Callable[[int], None]
    bar: Bar = field(init=False)
    saved: int = 0
    _smoothed: Smoothed = field(default_factory=Smoothed)
    _since: float = field(default_factory=time.monotonic)

    @property
    def checkpoints(self) -> Path:
        return self.folder.path / "checkpoints"

    def resume(self, trainer: Trainer) -> None:
        """Takes up the newest whole checkpoint, names the damaged ones, and draws the grid that a stop cut off."""
        checkpoint, damaged = checkpoints.newest(self.checkpoints)
        if damaged and checkpoint is None:
            raise CheckpointError(f"{damaged[0]}, and no whole one is left: start anew with --fresh")
        for sentence in damaged:
            self.progress.warn(f"{sentence}; an older one is used")
        if checkpoint is None:
            self.folder.trim_log(0)
            return
        if checkpoint.values.pop(_DATA) != self.data:
            raise DataError(
                "the pictures are not those that the run began with: put them back, or start anew with --fresh"
            )
        trainer.restore(checkpoint)
        self.saved = trainer.step
        self.folder.trim_log(trainer.step)
        self.progress.say(f"going on from step {trainer.step} of {self.work.steps}")
        if self._grid_due(trainer.step) and not self.has_grid(trainer.step):
            self._grid(trainer)

    def stepped(self) -> None:
        self.bar.advance()

    def logged(self, lines: list[Logged], images: int) -> None:
        now = time.monotonic()
        rate, self._since = images / max(now - self._since, 1e-9), now
        for line in lines:
            smooth = self._smoothed.add(line.loss)
            if line.step % self.training["logging_steps"] == 0 or line.step == self.work.steps:
                self.folder.append_log(
                    {
                        "step": line.step,
                        "loss": line.loss,
                        "learning_rate": line.learning_rate,
                        "grad_norm": line.grad_norm,
                        "images_per_second": round(rate, 2),
                    }
                )
        facts = {"loss": f"{smooth:.4f}", "lr": f"{lines[-1].learning_rate:.1e}", "rate": f"{rate:.1f} images/s"}
        self.bar.advance(0, **facts, memory=memory())

    def due(self, step: int) -> bool:
        return self.stop.requested is not None or self._checkpoint_due(step) or self._grid_due(step)

    def reached(self, step: int, trainer: Trainer) -> None:
        if self._checkpoint_due(step):
            self._save(trainer)
        if self._grid_due(step):
            with suppress(Interrupted):  # the state is saved first; the grid is drawn when the run goes on
                self._grid(trainer)
        if self.stop.requested is not None:
            if self.saved != step:
                self._save(trainer)
            self.stop.check(f"at step {step} of {self.work.steps}, its state is saved")
        self._since = time.monotonic()

    def _checkpoint_due(self, step: int) -> bool:
        every = self.training["checkpointing_steps"]
        return step == self.work.steps or (every is not None and step % every == 0)

    def _grid_due(self, step: int) -> bool:
        every = self.training["sample_steps"]
        return every is not None and step > 0 and step % every == 0

    def _save(self, trainer: Trainer) -> None:
        checkpoint = trainer.checkpoint()
        checkpoint.values[_DATA] = self.data
        checkpoints.save(self.checkpoints, checkpoint, self.training["checkpoints_total_limit"])
        self.saved = trainer.step

    def _grid(self, trainer: Trainer) -> None:
        averaged: AbstractContextManager[None] = trainer.ema.applied() if trainer.ema is not None else nullcontext()
        parts = trainer.family.parts.values()
        learning = [part for part in parts if part.training]
        for part in learning:
            part.eval()
        with averaged:
            self.draw_grid(trainer.step)
        for part in learning:
            part.train()
