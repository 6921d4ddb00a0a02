"""The pictures that keep a model's idea of a class while it learns one thing of it (DreamBooth, Ruiz et al. 2023)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from runner.data.cache import Pictures, prepare
from runner.data.source import Item, Listed
from runner.memory import guarded, training_mends
from runner.models.family import Request
from runner.models.fingerprint import fingerprint
from runner.models.trainable import Trainable
from runner.outputs.files import faults, write_bytes
from runner.outputs.png import pack
from runner.processes.world import World
from runner.progress import Progress
from runner.prompts.kept import Kept
from runner.signals import Stop

_SHARED = ("resolution", "interpolation", "background")


def prior_pictures(
    family: Trainable, values: dict[str, Any], *, cache_dir: Path, progress: Progress, stop: Stop
) -> Pictures:
    """Pictures of `data.prior.prompt` that the model draws before it learns, kept in the cache for the next run.

    Args:
        family: the model as it was loaded.
        values: the settled recipe.

    Raises:
        EnvironmentFault: out of memory, or the disk refuses. Interrupted: what was drawn is kept.
    """
    data, prior = values["data"], values["data"]["prior"]
    folder = cache_dir / "prior" / _key(family, values)
    wanted = [(i, folder / f"{i:06d}.png") for i in range(prior["num_images"])]
    missing = [(i, path) for i, path in wanted if not path.is_file()]
    if missing:
        _draw(family, values, missing, progress, stop)
    section = {key: data[key] for key in _SHARED if key in data} | {"center_crop": True, "on_error": "stop"}
    source = _DrawnBefore([path for _, path in wanted])
    return prepare(source, section=section, cache_dir=cache_dir, progress=progress, world=World())


class _DrawnBefore(Listed):
    """Pictures in files: the same data wherever they have the same content, so a run goes on with them drawn anew."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths, self.classes = paths, []
        self.items = [Item(path.name, None, None) for path in paths]
        digest = hashlib.sha256()
        for path in paths:
            with faults(path, "read"):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        self.fingerprint = digest.hexdigest()

    def picture(self, index: int) -> Image.Image:
        return Image.open(self._paths[index], formats=["PNG"])


def _draw(
    family: Trainable, values: dict[str, Any], missing: list[tuple[int, Path]], progress: Progress, stop: Stop
) -> None:
    kept = Kept()
    with progress.bar("Draw prior", len(missing), unit="picture") as bar:
        for batch in _cut(missing, values["training"]["batch_size"]):
            images = _drawn(family, values, [i for i, _ in batch], kept, stop)
            for (_, path), image in zip(batch, images, strict=True):
                _keep(image, path)
                bar.advance()


def _key(family: Trainable, values: dict[str, Any]) -> str:
    """Equal for runs whose prior pictures would be the same."""
    prior = {key: value for key, value in values["data"]["prior"].items() if key not in ("num_images", "weight")}
    scheduler = values.get("scheduler") or family.facts.configs["scheduler"]
    made_of = [fingerprint(family.parts.values()), prior, scheduler, values["data"]["resolution"], values["seed"]]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def _drawn(family: Trainable, values: dict[str, Any], numbers: list[int], kept: Kept, stop: Stop) -> list[Image.Image]:
    prior, side = values["data"]["prior"], values["data"]["resolution"]
    options = {key: prior[key] for key in ("num_inference_steps", "guidance_scale")}
    section = {**options, "height": side, "width": side, "negative_prompt": "", "prompt_syntax": "plain"}
    request = Request(section, prompts=(prior["prompt"],), copies=len(numbers), kept=kept)
    noise = [torch.Generator("cpu").manual_seed(values["seed"] + i) for i in numbers]
    with guarded(values, training_mends(values)):
        return family.draw(request, noise, stop.check).images


def _keep(image: Image.Image, path: Path) -> None:
    with faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, pack(image))


def _cut(items: list[tuple[int, Path]], size: int) -> Iterator[list[tuple[int, Path]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
