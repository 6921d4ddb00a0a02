"""The plan: what a settled recipe will load, train, write and need, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from runner.data.batches import Work
from runner.models import family_class
from runner.models.counting import Count, count
from runner.settle import Settled
from runner.tally import gibibytes

# Bytes of optimizer state per parameter; adafactor keeps rows and columns only, next to nothing.
_OPTIMIZER_BYTES = {"adamw": 8, "adam": 8, "sgd": 4, "adafactor": 0, "adamw_8bit": 2, "prodigy": 16}


@dataclass(frozen=True)
class Training:
    """The numbers of the training stage.

    Attributes:
        steps: optimizer steps; images: pictures seen, repeats included. None while epochs of unknown size are asked.
        epochs: passes over the data, None while its size is unknown.
        parameters: those that learn.
        flops: of one optimizer step, forward and backward.
        memory: bytes by what holds them, of the training itself.
    """

    steps: int | None
    images: int | None
    epochs: float | None
    parameters: int
    flops: int
    memory: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What will happen. Sizes in bytes."""

    name: str
    device: str
    mixed_precision: str
    stages: list[str]
    pictures: int | None
    classes: list[str]
    parameters: int | None
    training: Training | None
    images_drawn: int | None
    sampling_calls: int | None
    files: list[str]

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)


def plan(settled: Settled) -> Plan:
    """The plan of a settled recipe; builds the model without memory for its weights to count it."""
    values, source = settled.values, settled.source
    counted = None
    if settled.model is not None:
        counted = count(family_class(settled.model.family), settled.model, checkpointed=_checkpointed(values))
    pictures = source.count if source is not None else None
    if pictures is not None and values["data"].get("max_images"):
        pictures = min(pictures, values["data"]["max_images"])
    training = _training(values, counted, pictures) if "training" in values and counted is not None else None
    return Plan(
        name=values["name"],
        device=values["compute"]["device"],
        mixed_precision=values["compute"]["mixed_precision"],
        stages=[stage for stage in ("data", "model", "training", "sampling") if stage in values],
        pictures=pictures,
        classes=settled.model.classes if settled.model is not None else [],
        parameters=counted.parameters if counted is not None else None,
        training=training,
        images_drawn=values["sampling"]["num_images"] if "sampling" in values else None,
        sampling_calls=_sampling_calls(values),
        files=_files(values, training),
    )


def _checkpointed(values: dict[str, Any]) -> bool:
    return bool(values.get("training", {}).get("gradient_checkpointing"))


def _training(values: dict[str, Any], counted: Count, pictures: int | None) -> Training:
    training = values["training"]
    known = pictures is not None or not training["num_train_epochs"]
    work = Work.of(training, pictures or 1)
    weights = 4 * counted.parameters
    bytes_each = 2 if values["compute"]["mixed_precision"] != "fp32" else 4
    memory = {
        "weights": weights,
        "gradients": weights,
        "optimizer": _OPTIMIZER_BYTES[training["optimizer"]["type"]] * counted.parameters,
        "average": weights if "ema" in training else 0,
        "activations": counted.activations * bytes_each // 4 * training["batch_size"],
    }
    # A backward pass costs twice a forward pass.
    flops = 3 * counted.forward_flops * work.samples_per_step
    epochs = work.samples / pictures if pictures else None
    steps, images = (work.steps, work.samples) if known else (None, None)
    return Training(steps, images, epochs, counted.parameters, flops, memory)


def _sampling_calls(values: dict[str, Any]) -> int | None:
    if "sampling" not in values:
        return None
    sampling = values["sampling"]
    batches = -(-sampling["num_images"] // sampling["batch_size"])
    return batches * sampling["num_inference_steps"]


def _files(values: dict[str, Any], training: Training | None) -> list[str]:
    """What the run's folder will hold, in the order of writing."""
    files = ["recipe.yaml", "settled.yaml", "run.json"]
    sampling, output = values.get("sampling"), values["output"]
    if sampling is not None and sampling["noise_preview"]:
        files.append("samples/noise_preview.png")
    if training is not None:
        section = values["training"]
        files += ["log.jsonl", "checkpoints/", "model/"]
        every = section["sample_steps"]
        if every is not None and (training.steps is None or training.steps >= every):
            files += ["samples/step-….png", "samples/progress.gif"]
    if sampling is not None:
        files.append("samples/grid.png")
        if output["individual_images"]:
            files.append(f"samples/00000.png … {sampling['num_images'] - 1:05d}.png")
        if sampling["trajectory"]:
            files.append("samples/trajectory.png")
    return files


def render(plan: Plan) -> str:
    """The plan for people, one fact a line."""
    rows = [("recipe", plan.name), ("stages", " → ".join(plan.stages))]
    rows.append(("device", f"{plan.device}, {plan.mixed_precision}"))
    if "data" in plan.stages:
        rows.append(("pictures", f"{plan.pictures:,}" if plan.pictures is not None else "known once they are read"))
    if plan.classes:
        names = ", ".join(plan.classes[:8]) + (", …" if len(plan.classes) > 8 else "")
        rows.append(("classes", f"{len(plan.classes)}: {names}"))
    if plan.parameters is not None:
        learn = plan.training.parameters if plan.training is not None else 0
        rows.append(("parameters", f"{plan.parameters:,}, of which {learn:,} learn"))
    if plan.training is not None:
        rows += _training_rows(plan.training)
    if plan.sampling_calls is not None:
        rows.append(("sampling", f"{plan.images_drawn:,} pictures, {plan.sampling_calls:,} denoising steps of a batch"))
    rows += [("files" if i == 0 else "", name) for i, name in enumerate(plan.files)]
    return "\n".join(f"{name:>11}  {text}" for name, text in rows)


def _training_rows(training: Training) -> list[tuple[str, str]]:
    epochs = f", {training.epochs:.1f} epochs" if training.epochs is not None else ""
    seen = "steps known once the pictures are read"
    if training.steps is not None:
        seen = f"{training.steps:,} steps, {training.images:,} images seen"
    parts = ", ".join(f"{name} {gibibytes(size)}" for name, size in training.memory.items() if size)
    return [
        ("training", f"{seen}{epochs}"),
        ("work", f"{training.flops / 1e12:.3g} TFLOP a step"),
        ("memory", f"{gibibytes(sum(training.memory.values()))} while training ({parts})"),
    ]
