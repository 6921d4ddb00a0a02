"""The plan for people."""

from __future__ import annotations

from runner.plan.drawing import Drawing, Needed
from runner.plan.numbers import Plan
from runner.plan.training import Training
from runner.shown import shown
from runner.tally import gibibytes


def render(plan: Plan) -> str:
    """The plan for people, one fact a line."""
    rows = [("recipe", plan.name), ("stages", " → ".join(plan.stages))]
    processes = [f"{plan.processes} processes ({plan.strategy})"] if plan.processes > 1 else []
    workers = [f"dataloader_num_workers {plan.workers}"] if plan.workers else []
    rows.append(("device", ", ".join([plan.device, plan.precision, *plan.fast, *workers, *processes])))
    if "data" in plan.stages:
        rows.append(("pictures", f"{plan.pictures:,}" if plan.pictures is not None else "known once they are read"))
    if plan.classes:
        names = ", ".join(plan.classes[:8]) + (", …" if len(plan.classes) > 8 else "")
        rows.append(("classes", f"{len(plan.classes)}: {names}"))
    if plan.parameters is not None:
        rows += _model_rows(plan)
    if plan.training is not None:
        rows += _training_rows(plan.training)
    if plan.drawing is not None:
        rows += _drawing_rows(plan.drawing)
    rows += _needed_rows(plan.needed)
    if any(plan.disk.values()):
        rows.append(("disk", f"{_sizes(plan.disk)} in the run's folder"))
    rows += [("files" if i == 0 else "", name) for i, name in enumerate(plan.files)]
    return "\n".join(f"{name:>11}  {text}" for name, text in rows)


def _model_rows(plan: Plan) -> list[tuple[str, str]]:
    learn = plan.training.parameters if plan.training is not None else 0
    learning = f", of which {learn:,} learn" if plan.training is not None else ""
    rows = [("model", str(plan.family)), ("parameters", f"{plan.parameters:,}{learning}")]
    if len(plan.parts) > 1:
        rows.append(("", ", ".join(f"{name} {count:,}" for name, count in plan.parts.items())))
    return rows


def _drawing_rows(drawing: Drawing) -> list[tuple[str, str]]:
    pictures = f"{drawing.images:,} picture{'' if drawing.images == 1 else 's'}"
    return [
        ("sampling", f"{pictures}, {drawing.calls:,} denoising steps of a batch"),
        ("work", f"{drawing.flops / 1e12:.3g} TFLOP a step"),
        ("memory", f"{_sizes(drawing.memory)} while drawing"),
    ]


def _needed_rows(needed: list[Needed]) -> list[tuple[str, str]]:
    """The files to load, and what of them is still to come."""
    missing = [file for file in needed if not file.here]
    rows = []
    for name, files in (("loads", [file for file in needed if file.here]), ("downloads", missing)):
        if not files:
            continue
        total = sum(file.size or 0 for file in files)
        rows.append((name, f"{len(files)} file{'' if len(files) == 1 else 's'}, {gibibytes(total)}"))
        rows += [("", f"{shown(file.name)}  {_size(file)}") for file in files]
    return rows


def _size(file: Needed) -> str:
    return gibibytes(file.size) if file.size is not None else "of unknown size"


def _sizes(sizes: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {gibibytes(size)}" for name, size in sizes.items() if size)
    return f"{gibibytes(sum(sizes.values()))} ({parts})"


def _training_rows(training: Training) -> list[tuple[str, str]]:
    epochs = f", {training.epochs:.1f} epochs" if training.epochs is not None else ""
    each = f", in each of {training.processes} processes" if training.processes > 1 else ""
    seen = "steps known once the pictures are read"
    if training.steps is not None:
        seen = f"{training.steps:,} steps, {training.images:,} images seen"
    return [
        ("training", f"{seen}{epochs}"),
        *([("caches", ", ".join(training.caches))] if training.caches else []),
        ("work", f"{training.flops / 1e12:.3g} TFLOP a step"),
        ("memory", f"{_sizes(training.memory)} while training{each}"),
    ]
