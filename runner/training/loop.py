"""The one training loop: it knows no model, data source or objective by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from runner.data.batches import Batch, Batches, Work
from runner.errors import Diverged
from runner.memory import free_memory, ran_out
from runner.methods.groups import Group
from runner.models.fast import Compiled
from runner.models.trainable import Trainable
from runner.training.checkpoints import Checkpoint
from runner.training.code_check import require_true_gradients
from runner.training.dropout import seed_dropout
from runner.training.optimizers import lr_scheduler, optimizer
from runner.training.state import Tensors, load_parameters
from runner.training.together import Objective, together

_KINDS = {"parameters": "weights", "ema": "average of the weights", "optimizer": "optimizer's state"}


@dataclass(frozen=True)
class Logged:
    """One optimizer step as it is logged. `grad_norm` is the gradient's norm before clipping, None without clipping."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float | None


class Hooks(Protocol):
    """What a run does besides learning. Steps count from 1."""

    def stepped(self) -> None: ...
    def logged(self, lines: list[Logged], images: int) -> None: ...
    def due(self, step: int) -> bool: ...
    def reached(self, step: int, trainer: Trainer) -> None: ...
    def shrunk(self, step: int, before: Work, after: Work) -> None: ...


class Trainer:
    """The state of a training run: parameters, average, optimizer, learning rate, gradient scale, split of steps.

    Args:
        family: the model; its parts are on the accelerator's device.
        groups: what learns, by learning rate.
        training: the resolved `training` section.
        accelerator: device, number format and gradient scaling.
        batches: what is learned from, of the whole run.
        compiled: what of the model is compiled.
    """

    def __init__(
        self,
        family: Trainable,
        groups: Sequence[Group],
        training: dict[str, Any],
        accelerator: Accelerator,
        batches: Batches,
        compiled: Compiled,
    ) -> None:
        self.family = family
        self.compiled = compiled
        self.parameters = {name: p for group in groups for name, p in group.parameters.items()}
        self.training = training
        self.accelerator = accelerator
        self.batches = batches
        self.step = 0
        raw = optimizer(training["optimizer"], groups)
        self.lr_scheduler = lr_scheduler(training, raw, batches.work.steps)
        self.together = together(family, accelerator)
        self.optimizer, self.parameters = self.together.prepare(raw, self.parameters)
        self.ema = self.together.average(self.parameters, training["ema"]) if "ema" in training else None

    def checkpoint(self) -> Checkpoint:
        """The whole state after the last optimizer step. All processes ask for it.

        Raises:
            Diverged: a number of it is NaN or infinite.
        """
        state, rest = self.together.optimizer_state(self.optimizer.optimizer)
        learned = {name: p.detach() for name, p in self.parameters.items()}
        files = {"parameters": self.together.whole(learned), "optimizer": state}
        if self.ema is not None:
            files["ema"] = self.together.whole_average(self.ema)
        self._require_finite(files)
        scaler, work = self.accelerator.scaler, self.batches.work
        values = {
            "batch_size": work.batch_size,
            "gradient_accumulation_steps": work.gradient_accumulation_steps,
            "given_batch_size": self.training["batch_size"],
            "optimizer": rest,
            "lr_scheduler": {k: v for k, v in self.lr_scheduler.state_dict().items() if k != "lr_lambdas"},
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        return Checkpoint(self.step, files, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to a saved state."""
        saved, parts = checkpoint.tensors, self.together.parts
        load_parameters(self.parameters, parts(saved["parameters"], self.parameters))
        optimizer, rest = self.optimizer.optimizer, checkpoint.values["optimizer"]
        self.together.load_optimizer_state(optimizer, saved["optimizer"], rest)
        if self.ema is not None:
            self.ema.load(self.together.parts_of_average(saved["ema"], self.parameters))
        self.lr_scheduler.load_state_dict(
            {**checkpoint.values["lr_scheduler"], "lr_lambdas": [None] * len(self.lr_scheduler.base_lrs)}
        )
        scaler, scale = self.accelerator.scaler, checkpoint.values["scaler"]
        if scaler is not None and scale:  # nothing where compute.mixed_precision was another
            scaler.load_state_dict(scale)
        if checkpoint.values["given_batch_size"] == self.training["batch_size"]:  # else the recipe has another one now
            self.batches.work = self.batches.work.split(checkpoint.values["batch_size"])
        self.step = checkpoint.step

    def backward(self, objective: Objective, batch: Batch, seed: int, *, last: bool) -> Tensor:
        """Adds the gradients of a micro-batch's loss and returns it; after a step's last, processes share them."""
        seed_dropout(self.accelerator.device, seed, batch.first)
        with self.together.syncing(last):
            with self.accelerator.autocast():
                losses = self.together.losses(objective, batch, self.training)
            loss = (losses * batch.weight).sum()
            self.accelerator.backward(loss)
        return loss.detach()

    def forget(self) -> None:
        """No gradient is left of what `backward` added."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def shrink(self) -> None:
        """Forgets the step that was begun; from now on steps are made of smaller micro-batches."""
        self.forget()
        self.batches.work = self.batches.work.smaller()
        free_memory()

    def _require_finite(self, files: dict[str, Tensors]) -> None:
        """A loss tells of broken weights one step late: none are kept before it could."""
        for name, tensors in files.items():
            if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
                raise _diverged(_KINDS[name], "not finite", self.step, float(self.lr_scheduler.get_last_lr()[0]))


def train(trainer: Trainer, objective: Objective, hooks: Hooks, seed: int) -> None:
    """Trains from the trainer's step to the end of its batches.

    Each optimizer step sums its micro-batches' losses by each sample's weight, so the gradient is that of the mean
    over the whole step however it is split. Losses are fetched from the device every `logging_steps` only.

    Raises:
        Diverged: a loss is NaN or infinite; nothing of the step, or of later ones, has been saved.
        EnvironmentFault: compiled code computes something else.
    """
    require_true_gradients(trainer, objective, seed)
    accelerator, training = trainer.accelerator, trainer.training
    stepped = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    pending: list[tuple[int, Tensor, float, Tensor | None]] = []
    images = 0
    for micro_batches in _to_the_end(trainer):
        loss = _backward(trainer, objective, micro_batches, seed)
        if loss is None:
            before = trainer.batches.work
            trainer.shrink()
            hooks.shrunk(trainer.step + 1, before, trainer.batches.work)
            continue
        images += sum(map(len, micro_batches))
        rate = float(trainer.lr_scheduler.get_last_lr()[0])
        trainer.together.gather()
        limit = training["max_grad_norm"]
        norm = trainer.together.clip(stepped, limit) if limit is not None else None
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.lr_scheduler.step()
        trainer.step += 1
        if trainer.ema is not None:
            trainer.ema.update(trainer.step)
        pending.append((trainer.step, loss, rate, norm))
        hooks.stepped()
        due = hooks.due(trainer.step)
        if due or trainer.step % training["logging_steps"] == 0 or trainer.step == trainer.batches.work.steps:
            hooks.logged(_fetched(pending, accelerator), images * accelerator.num_processes)
            pending, images = [], 0
        if due:
            hooks.reached(trainer.step, trainer)


def _to_the_end(trainer: Trainer) -> Iterator[list[Batch]]:
    """The micro-batches of each step; a step comes again when they were made smaller."""
    batches = trainer.batches
    while trainer.step < batches.work.steps:
        work = batches.work
        for micro_batches in batches.from_step(trainer.step):
            yield micro_batches
            if batches.work is not work:
                break


def _backward(trainer: Trainer, objective: Objective, micro_batches: list[Batch], seed: int) -> Tensor | None:
    """Leaves the gradients of a step's loss and returns it; None where memory ran out and the step may be split."""
    accelerator = trainer.accelerator
    loss = torch.zeros((), device=accelerator.device)
    # The last step of epochs may be smaller: for one step no code is made.
    smaller = trainer.batches.work.is_smaller(trainer.step)
    try:
        with trainer.compiled.eagerly() if smaller else nullcontext():
            for left, waiting in enumerate(micro_batches, 1 - len(micro_batches)):
                batch = waiting.to(accelerator.device)
                loss += trainer.backward(objective, batch, seed, last=left == 0)
    except (MemoryError, RuntimeError) as error:
        if ran_out(error) and trainer.training["on_oom"] == "shrink" and trainer.batches.work.batch_size > 1:
            return None
        raise
    return loss


def _fetched(pending: list[tuple[int, Tensor, float, Tensor | None]], accelerator: Accelerator) -> list[Logged]:
    """The pending losses from the device in one go, the mean of all processes, checked to be finite.

    A gradient scaler skips infinite gradients itself.
    """
    scaled, steps = accelerator.scaler is not None, [step for step, _, _, _ in pending]
    losses = torch.stack([loss for _, loss, _, _ in pending])
    if accelerator.num_processes > 1:
        losses = accelerator.reduce(losses, "mean")
    clipped = [norm for _, _, _, norm in pending if norm is not None]
    norms = torch.stack(clipped).tolist() if clipped else [None] * len(pending)
    rates = [rate for _, _, rate, _ in pending]
    lines = [Logged(*values) for values in zip(steps, losses.tolist(), rates, norms, strict=True)]
    for line in lines:
        for name, value in (("loss", line.loss), ("gradient", None if scaled else line.grad_norm)):
            if value is not None and not math.isfinite(value):
                raise _diverged(name, str(value), line.step, line.learning_rate)
    return lines


def _diverged(what: str, value: str, step: int, rate: float) -> Diverged:
    return Diverged(
        f"the {what} became {value} at step {step}: lower training.learning_rate (it was {rate:g}) "
        "or use compute.mixed_precision: fp32; checkpoints written before are whole"
    )
