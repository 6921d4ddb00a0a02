"""The numbers of the sampling stage, and the files of a saved model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.models import family_class
from runner.models.counting import drawing as forward
from runner.models.counting import parameters
from runner.models.family import WIDTHS, Facts
from runner.sampling.shots import Shot, shots
from runner.settle.settled import Settled

if TYPE_CHECKING:
    from runner.captioning import CaptionFacts


@dataclass(frozen=True)
class Needed:
    """A file of a model: where it comes from, its bytes (None where the hub does not say), whether it is here."""

    origin: str
    name: str
    size: int | None
    here: bool


@dataclass(frozen=True)
class Drawing:
    """The numbers of the sampling stage.

    Attributes:
        images: pictures; calls: denoising steps of a batch.
        flops: of one such step, of the largest pictures.
        memory: bytes by what holds them, at the most of them.
    """

    images: int
    calls: int
    flops: int
    memory: dict[str, int]


def needed(model: Facts) -> Iterator[Needed]:
    """The files that building a saved model reads, each once."""
    seen = set()
    whole = [*model.parts.values(), *([model.checkpoint] if model.checkpoint is not None else [])]
    named = [(part.files, name) for part in whole for name in part.names]
    named += [(extra.files, extra.name) for extra in (*model.embeddings, *model.loras)]
    for files, name in named:
        if (files.origin, name) not in seen:
            seen.add((files.origin, name))
            yield Needed(files.origin, name, files.sizes.get(name), files.at(name) is not None)


def captioning(captioner: CaptionFacts | None) -> Iterator[Needed]:
    """The files of the model that writes captions."""
    if captioner is not None:
        files = captioner.files
        for name in captioner.names:
            yield Needed(files.origin, name, files.sizes.get(name), files.at(name) is not None)


def drawing(settled: Settled) -> Drawing:
    """The base model's step, and the memory of the larger of two models."""
    values, model = settled.values, settled.model
    assert model is not None
    wanted = shots(values["sampling"])
    largest = max(len(shot.seeds) for shot in wanted)
    widest = max((shot.cell.sampling for shot in wanted), key=_pixels)
    costs = [_cost(facts, values, widest, largest) for facts in (model, settled.refiner) if facts is not None]
    calls = sum(_calls(shot) for shot in wanted)
    memory = max((memory for _, memory in costs), key=lambda memory: sum(memory.values()))
    return Drawing(sum(len(shot.seeds) for shot in wanted), calls, costs[0][0], memory)


def _calls(shot: Shot) -> int:
    sampling = shot.cell.sampling
    steps: int = sampling["num_inference_steps"]
    return max(1, int(steps * sampling["strength"])) if sampling.get("init_image") else steps


def _pixels(sampling: dict[str, Any]) -> int:
    """Of a picture, where the section says; a matrix may ask for several sizes."""
    return int((sampling.get("height") or 0) * (sampling.get("width") or 0))


def _cost(model: Facts, values: dict[str, Any], sampling: dict[str, Any], batch: int) -> tuple[int, dict[str, int]]:
    """Operations of one denoising step of a batch, and the memory of drawing it."""
    family, compute = family_class(model.family), values["compute"]
    skeletons = family.skeletons(model)
    denoiser, vae = next(iter(skeletons.values())), skeletons.get("vae")
    if vae is not None and compute["vae_tiling"]:
        vae.enable_tiling()
    step = forward(lambda: family.rehearse(denoiser, model, sampling))
    decoding = forward(lambda: family.rehearse_decoding(skeletons, model, sampling))
    width = WIDTHS[compute["dtype"]]
    wide = vae is not None and vae.config["force_upcast"] and compute["dtype"] == "fp16"  # diffusers decodes in fp32
    decoded = decoding.activations * (4 if wide else width) * (1 if compute["vae_slicing"] else batch)
    most = max(step.activations * width * batch, decoded) // 4  # they were counted in fp32
    sizes = [parameters(part) * width for part in skeletons.values()]
    weights = {"none": sum(sizes), "model": max(sizes), "sequential": 0}[compute["offload"]]
    return step.flops * batch, {"weights": weights, "activations": most}
