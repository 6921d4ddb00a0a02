"""The plan: what a settled recipe will load, train, write and need, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from runner.models import family_class
from runner.models.counting import parameters
from runner.models.family import Facts
from runner.models.fast import named
from runner.plan.disk import disk
from runner.plan.drawing import Drawing, Needed, captioning, drawing, needed
from runner.plan.training import Training, training
from runner.sampling.shots import shots
from runner.settle.settled import Settled


@dataclass(frozen=True)
class Plan:
    """What will happen. Sizes in bytes.

    Attributes:
        precision: the number format of the work: of training, or of what only draws.
        fast: the keys of `compute` that are on for speed.
        workers: threads that prepare batches, in each process; 0 where nothing is trained.
    """

    name: str
    device: str
    precision: str
    fast: list[str]
    workers: int
    processes: int
    strategy: str
    stages: list[str]
    pictures: int | None
    classes: list[str]
    family: str | None
    parameters: int | None
    parts: dict[str, int]
    needed: list[Needed]
    training: Training | None
    drawing: Drawing | None
    disk: dict[str, int]
    files: list[str]

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)


def plan(settled: Settled) -> Plan:
    """The plan of a settled recipe; builds the model without memory for its weights to count it."""
    values, source, model = settled.values, settled.source, settled.model
    parts = _parts(model) if model is not None else {}
    limit = values.get("data", {}).get("max_images")
    pictures, shown = (source.first(limit), source.shown(limit)) if source is not None else (None, None)
    trained = training(values, model, shown) if "training" in values and model is not None else None
    drawn = drawing(settled) if "sampling" in values and model is not None else None
    models = [facts for facts in (model, settled.refiner) if facts is not None]
    return Plan(
        name=values["name"],
        device=values["compute"]["device"],
        precision=values["compute"]["mixed_precision" if "training" in values else "dtype"],
        fast=named(values["compute"]),
        workers=values["compute"]["dataloader_num_workers"] if "training" in values else 0,
        processes=values["compute"]["processes"],
        strategy=values["compute"]["strategy"],
        stages=_stages(values),
        pictures=pictures,
        classes=model.classes if model is not None else [],
        family=model.family if model is not None else None,
        parameters=sum(parts.values()) if model is not None else None,
        parts=parts,
        needed=[*captioning(settled.captioner), *(file for facts in models for file in needed(facts))],
        training=trained,
        drawing=drawn,
        disk=disk(values, model, trained, drawn),
        files=_files(values, trained),
    )


def _stages(values: dict[str, Any]) -> list[str]:
    data = values.get("data", {})
    happening = {
        "captions": "caption" in data,
        "data": bool(data),
        "model": "model" in values,
        "prior": "prior" in data,
    }
    happening |= {stage: stage in values for stage in ("training", "sampling")}
    return [stage for stage, yes in happening.items() if yes]


def _parts(model: Facts) -> dict[str, int]:
    return {name: parameters(part) for name, part in family_class(model.family).skeletons(model).items()}


def _files(values: dict[str, Any], training: Training | None) -> list[str]:
    """What the run's folder will hold, in the order of writing."""
    files = ["recipe.yaml", "settled.yaml", "run.json"]
    sampling, output = values.get("sampling"), values["output"]
    if "caption" in values.get("data", {}):
        files.append("captions/metadata.jsonl")
    if sampling is not None and sampling.get("noise_preview"):
        files.append("samples/noise_preview.png")
    if training is not None:
        section = values["training"]
        files += ["log.jsonl", "checkpoints/", "model/"]
        if values["model"]["type"] != "autoencoder_kl":
            files.append("sample.yaml")
        every = section["sample_steps"]
        if every is not None and (training.steps is None or training.steps >= every):
            files += ["samples/step-….png", "samples/progress.gif"]
    if sampling is not None:
        files.append("samples/matrix.png" if sampling.get("matrix") else "samples/grid.png")
        if output["individual_images"]:
            count = sum(len(shot.seeds) for shot in shots(sampling))
            files.append(f"samples/00000.png … {count - 1:05d}.png" if count > 1 else "samples/00000.png")
        if sampling.get("trajectory"):
            files.append("samples/trajectory.png")
    return files
