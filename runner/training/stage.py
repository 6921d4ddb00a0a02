"""The training stage: puts model, method, data and loop together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from runner.data.batches import Batches, Work
from runner.data.cache import Pictures
from runner.data.order import Order
from runner.data.prior import Prior
from runner.data.texts import Texts
from runner.data.validation import held_out
from runner.data.views import Views
from runner.diffusion.objectives import objective_of
from runner.errors import EnvironmentFault
from runner.memory import guarded, training_mends
from runner.methods import method_of
from runner.models.fast import Compiled, lay_out
from runner.models.trainable import Trainable
from runner.outputs.folder import RunFolder
from runner.processes.world import World
from runner.progress import Progress
from runner.signals import Stop
from runner.training.caches import Caches
from runner.training.idle import Idle, idle_parts
from runner.training.keeper import Grids, Keeper
from runner.training.loop import Trainer, train
from runner.training.origin import Origin
from runner.training.validation import validation

_MEASURED = 1024  # pictures


@dataclass(frozen=True)
class Around:
    """What a training run works with, besides model and data.

    Attributes:
        accelerator: device and number format.
        folder: the run's folder.
        cache_dir: the cache root.
        grids: draws pictures on the way.
        allow_changes: whether the run goes on with other data than it began with.
        world: the processes, and the signals that stop them.
    """

    accelerator: Accelerator
    folder: RunFolder
    cache_dir: Path
    progress: Progress
    grids: Grids
    allow_changes: bool
    world: World


def run_training(
    family: Trainable, pictures: Pictures, prior: Pictures | None, values: dict[str, Any], around: Around
) -> None:
    """Trains to the end, from the newest whole checkpoint if there is one; the family then holds the average.

    Args:
        family: the model.
        pictures: the prepared data.
        prior: what keeps the model's idea of the class, for DreamBooth.
        values: the settled recipe.

    Raises:
        CheckpointError: no checkpoint is whole, or it does not fit. DataError: the pictures changed since the run was
            stopped, and it may not go on with others.
        Diverged, EnvironmentFault: as the loop and the checkpoints say.
        Interrupted: after a checkpoint was written.
    """
    training, compute, world = values["training"], values["compute"], around.world
    groups = method_of(values).attach(family, values)
    _checkpoint_gradients(family, training)
    lay_out(family, compute)
    with guarded(values, training_mends(values)):
        batches, validate_on = _batches(family, pictures, prior, values, around)
        idle = Idle(family, idle_parts(family, family.parts, values), around.accelerator.device)
        compiled = Compiled(family, compute["compile"], around.cache_dir / "compiled")
        trainer = Trainer(family, groups, training, around.accelerator, batches, compiled)
        objective = objective_of(values["model"]["type"])
        validate = validation(family, batches, validate_on, objective, around.accelerator, training)
        origin = Origin.of((pictures, prior), compute, around.cache_dir, around.allow_changes, world.count)
        kept = (origin, around.folder, around.progress, around.grids, idle, validate, world)
        keeper = Keeper(training, batches.work, *kept)
        keeper.resume(trainer)
        idle.rest()
        steps = batches.work.steps
        bar = around.progress.bar("Train", steps, unit="step", start=trainer.step)
        with bar as keeper.bar, world.stop.deferred(), _stopping(world.stop), compiled.ready():
            train(trainer, objective, keeper, values["seed"])
    trainer.together.take(trainer.ema)
    idle.wake()
    _learned(family)
    family.measure(batch.to(around.accelerator.device) for batch in _plain(pictures, values))


def _learned(family: Trainable) -> None:
    """Nothing of it learns any more."""
    for part in family.parts.values():
        part.requires_grad_(False)
        part.eval()


def _batches(
    family: Trainable, pictures: Pictures, prior: Pictures | None, values: dict[str, Any], around: Around
) -> tuple[Batches, list[int]]:
    """This process's share of what the run learns from, with what frozen parts make of it; what it is validated on."""
    training, data, device = values["training"], values["data"], around.accelerator.device
    learn_from, validate_on = held_out(pictures, training["validation_split"], values["seed"])
    order = Order(pictures, training["batch_size"], values["seed"], indices=learn_from)
    caches = Caches(family, values, around.cache_dir, around.progress, around.world)
    before = None
    if prior is not None:
        before = Prior(prior, data["prior"]["prompt"], data["prior"]["weight"], caches.latents(prior))
    batches = Batches(
        pictures,
        work=Work.of(training, len(order)).shared(around.world.rank, around.world.count),
        data=data,
        seed=values["seed"],
        shape=family.shape,
        noise_offset=training["noise_offset"],
        label_dropout_rate=training["label_dropout_rate"] if family.facts.classes else None,
        workers=values["compute"]["dataloader_num_workers"],
        order=order,
        texts=Texts(pictures, data, values["seed"]) if family.TEXT_PARTS else None,
        latents=caches.latents(pictures),
        embeddings=caches.embeddings([before.prompt] if before is not None else []),
        posterior=bool(family.PIXEL_PARTS),
        input_perturbation=training["input_perturbation"],
        prior=before,
        pin_for=device if device.type == "cuda" else None,
    )
    return batches, validate_on.tolist()


def _plain(pictures: Pictures, values: dict[str, Any]) -> Iterator[Tensor]:
    """The middles of pictures spread over the set, uint8 (B, 3, H, W)."""
    views, size = Views(pictures, values["data"]), values["training"]["batch_size"]
    chosen = np.linspace(0, len(pictures) - 1, min(_MEASURED, len(pictures))).round().astype(int).tolist()
    for start in range(0, len(chosen), size):
        pixels = np.stack([views.plain(i).pixels for i in chosen[start : start + size]])
        yield torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


@contextmanager
def _stopping(stop: Stop) -> Iterator[None]:
    """A signal that ends the compiler beside this process is no fault of the compiler's."""
    try:
        yield
    except EnvironmentFault:
        stop.check("while the model was compiled")
        raise


def _checkpoint_gradients(family: Trainable, training: dict[str, Any]) -> None:
    """Gradient checkpointing where something learns, and in the denoiser, through which all gradients go."""
    if not training["gradient_checkpointing"]:
        return
    for name, part in family.parts.items():
        if part.training or name == family.DENOISER:
            module = cast(Any, part)
            if hasattr(module, "enable_gradient_checkpointing"):  # diffusers
                module.enable_gradient_checkpointing()
            else:  # transformers
                module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
