"""What a run does besides learning: log lines, checkpoints, grids, validation, and stopping after a signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner.data.batches import Work
from runner.errors import CheckpointError, Interrupted
from runner.outputs.folder import RunFolder
from runner.processes.world import World
from runner.progress import Bar, Progress, Smoothed, memory
from runner.shown import shown
from runner.training import checkpoints
from runner.training.checkpoints import Checkpoint
from runner.training.idle import Idle
from runner.training.loop import Logged, Trainer
from runner.training.origin import Origin


class Grids(Protocol):
    """The grids of pictures drawn on the way."""

    def has(self, step: int) -> bool:
        """Whether the grid of a step was kept."""
        ...

    def draw(self, step: int) -> None:
        """Draws and keeps the grid of a step; may raise Interrupted."""
        ...


@dataclass
class Keeper:
    """The loop's hooks. Of several processes all have them, and the main one writes and draws.

    Attributes:
        training: the settled section.
        work: how many steps there are.
        origin: what is learned from, and the machine.
        validate: the validation loss of the model as it is; None without a validation set.
        idle: the parts that training does not need, which drawing does.
        world: the processes, and the signals that stop them.
    """

    training: dict[str, Any]
    work: Work
    origin: Origin
    folder: RunFolder
    progress: Progress
    grids: Grids
    idle: Idle
    validate: Callable[[], float] | None = None
    world: World = field(default_factory=World)
    bar: Bar = field(init=False)
    saved: int = 0
    _smoothed: Smoothed = field(default_factory=Smoothed)
    _since: float = field(default_factory=time.monotonic)
    _shown: dict[str, str] = field(default_factory=dict)

    def resume(self, trainer: Trainer) -> None:
        """Takes up the newest whole checkpoint, names the damaged ones, and draws the grid that a stop cut off.

        Raises:
            CheckpointError: none is whole, or it is of another model or another version of recipe.
            DataError: the data differ.
            Interrupted: a signal; not while a checkpoint is read, which torch would take for a fault of the file.
        """
        with self.world.stop.deferred():
            found = self._found(trainer)
        if self.world.asked():
            self.world.stop.check()
        if found and self._grid_due(trainer.step) and not self.grids.has(trainer.step):
            self._grid(trainer)

    def _found(self, trainer: Trainer) -> bool:
        """Whether there was a checkpoint, which is taken up."""
        folder = self.folder.path / "checkpoints"
        checkpoint, damaged = self._newest(folder)
        if damaged and checkpoint is None:
            raise CheckpointError(f"{damaged[0]}, and no whole one is left: start anew with --fresh")
        for sentence in damaged:
            self.progress.warn(f"{sentence}; an older one is used")
        if checkpoint is None:
            self._begin_again()
            return False
        self._take_up(checkpoint, trainer)
        if not damaged and self.world.main:  # a kill may have come between a checkpoint and the removal of older ones
            checkpoints.prune(folder, checkpoint.step, self.training["checkpoints_total_limit"])
        return True

    def _newest(self, folder: Path) -> tuple[Checkpoint | None, list[str]]:
        """What the main process finds: the others read the same."""
        checkpoint, damaged = checkpoints.newest(folder) if self.world.main else (None, [])
        step, damaged = self.world.tell((checkpoint.step if checkpoint is not None else None, damaged))
        if step is not None and checkpoint is None:
            checkpoint = checkpoints.load(checkpoints.path_of(folder, step))
        return checkpoint, damaged

    def _begin_again(self) -> None:
        """From the start: a new run, one that was stopped before its first checkpoint, or one that has lost them."""
        steps = (line.get("step") for line in self.folder.read_log())
        logged = max((step for step in steps if isinstance(step, int)), default=0)
        if logged:
            self.progress.warn(f"the log reaches step {logged}, but no checkpoint is there: beginning again at step 0")
        self._trim_log(0)

    def _take_up(self, checkpoint: Checkpoint, trainer: Trainer) -> None:
        try:
            data = self.origin.require_same_data(checkpoint.values)
            differs = self.origin.differing(checkpoint.values)
            trainer.restore(checkpoint)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:  # whatever was edited
            raise CheckpointError(
                f"the checkpoint of step {checkpoint.step} does not fit this recipe ({shown(error)}): "
                "start anew with --fresh"
            ) from error
        if data:
            self.progress.warn(f"{data}: going on with the data as they are")
            if self.world.main:
                self.folder.record.note_change("data", data)
        self.saved = trainer.step
        self._trim_log(trainer.step)
        if differs:
            self.progress.warn(f"going on from step {trainer.step}; close, not bitwise equal: {differs}")
        else:
            self.progress.say(f"going on from step {trainer.step} of {self.work.steps}")

    def _trim_log(self, step: int) -> None:
        if self.world.main:
            self.folder.trim_log(step)

    def stepped(self) -> None:
        self.bar.advance()

    def logged(self, lines: list[Logged], images: int) -> None:
        if not self.world.main:
            return
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
        self._shown |= {"loss": f"{smooth:.4f}", "lr": f"{lines[-1].learning_rate:.1e}", "rate": f"{rate:.1f} images/s"}
        self.bar.advance(0, **self._shown, memory=memory())

    def due(self, step: int) -> bool:
        extra = self._checkpoint_due(step) or self._grid_due(step) or self._validation_due(step)
        return self.world.asked() or extra

    def reached(self, step: int, trainer: Trainer) -> None:
        if self._validation_due(step):
            self._validate(trainer)
        if self._checkpoint_due(step):
            self._save(trainer)
        if self._grid_due(step):
            with suppress(Interrupted):  # the state is saved first; the grid is drawn when the run goes on
                self._grid(trainer)
        if self.world.asked():
            if self.saved != step:
                self._save(trainer)
            self.world.stop.check(f"at step {step} of {self.work.steps}, its state is saved")
        self._since = time.monotonic()

    def shrunk(self, step: int, before: Work, after: Work) -> None:
        split = {key: getattr(after, key) for key in ("batch_size", "gradient_accumulation_steps")}
        said = ", ".join(f"{key} {getattr(before, key)} → {value}" for key, value in split.items())
        self.progress.warn(f"out of memory: training.{said}; the same samples make each step")
        self.folder.append_log({"step": step, **split})

    def _checkpoint_due(self, step: int) -> bool:
        every = self.training["checkpointing_steps"]
        return step == self.work.steps or (every is not None and step % every == 0)

    def _grid_due(self, step: int) -> bool:
        every = self.training["sample_steps"]
        return every is not None and step > 0 and step % every == 0

    def _validation_due(self, step: int) -> bool:
        every = self.training["validation_loss_steps"]
        return self.validate is not None and (step % every == 0 or step == self.work.steps)

    def _save(self, trainer: Trainer) -> None:
        checkpoint = trainer.checkpoint()
        if self.world.main:
            checkpoint.values.update(self.origin.values)
            folder = self.folder.file("checkpoints")
            checkpoints.save(folder, checkpoint, self.training["checkpoints_total_limit"])
        self.saved = trainer.step

    def _validate(self, trainer: Trainer) -> None:
        assert self.validate is not None
        with _as_drawn(trainer):
            loss = self.validate()
        if not self.world.main:
            return
        self.folder.append_log({"step": trainer.step, "validation_loss": loss})
        self._shown |= {"validation": f"{loss:.4f}"}
        self.bar.advance(0, **self._shown)

    def _grid(self, trainer: Trainer) -> None:
        with _as_drawn(trainer), self.idle.awake():
            if self.world.main:
                self.grids.draw(trainer.step)


@contextmanager
def _as_drawn(trainer: Trainer) -> Iterator[None]:
    """The model holds the average and is in evaluation mode inside."""
    learning = [part for part in trainer.family.parts.values() if part.training]
    for part in learning:
        part.eval()
    with trainer.together.shown(trainer.ema), trainer.compiled.eagerly():
        yield
    for part in learning:
        part.train()
