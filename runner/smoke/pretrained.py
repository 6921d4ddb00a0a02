"""The rehearsal of a recipe with a pretrained model: a toy of its family, and toys of all that is laid over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from runner.errors import RecipeError
from runner.language.recipe import Recipe
from runner.language.resolve import fill
from runner.language.schemas import Place, read
from runner.models import family_class
from runner.models.files import open_files
from runner.models.index import family_of

_SIDE = 64  # pixels
_STEPS = 4
_VALUES = 2  # of each key of a matrix
_PROMPTS = 2
_SCHEMA = "sampling/pretrained.json"
_LIKELY = ("stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux", "sdxl_refiner", "pixel_unet")


def toy_pretrained(recipe: Recipe, small: dict[str, Any], scratch: Path) -> None:
    """Makes the `model` and `sampling` sections of a rehearsal small, in place.

    Args:
        recipe: as written.
        small: a copy of its values.
        scratch: a folder for the toys.
    """
    from runner.models import toys

    model, sampling = small["model"], small.get("sampling", {})
    family = _family(recipe, model, sampling)
    options: dict[str, Any] = {"safety_checker": True} if model["safety_checker"] is True else {}
    if sampling.get("mask_image") and "inpaint" in model["id"]:
        options["in_channels"] = 9
    if options and family == "stable_diffusion":
        toys.stable_diffusion(scratch / "model", **options)
    else:
        family_class(family).toy(scratch / "model")
    model |= {"id": str(scratch / "model"), "family": family, "file": None, "config": None}
    model |= {"revision": None, "subfolder": None, "variant": None}
    if "vae" in model:
        toys.vae(scratch / "vae")
        model["vae"] |= {"id": str(scratch / "vae"), "revision": None, "subfolder": None, "variant": None}
    _toy_extras(model, family, scratch)
    if sampling:
        _few(sampling, scratch)


def _family(recipe: Recipe, model: dict[str, Any], sampling: dict[str, Any]) -> str:
    """The model's family: as written, as its files say where they are at hand, else the first that knows its keys."""
    if model["family"] != "auto":
        return str(model["family"])
    try:
        base = recipe.folder_of(("model", "id"))
        where = {"revision": model["revision"], "subfolder": model["subfolder"]}
        return family_of(open_files(model["id"], base=base, key="model.id", offline=True, **where), "auto")
    except RecipeError:
        pass
    default = fill([Place(_SCHEMA, read(_SCHEMA))], {})
    used = {key for key, value in sampling.items() if value != default.get(key)}
    used |= set(sampling.get("matrix", {}))
    likely = (name for name in _LIKELY if used <= family_class(name).KEYS)
    return next(likely, "stable_diffusion") if sampling.get("prompts") else "pixel_unet"


def _toy_extras(model: dict[str, Any], family: str, scratch: Path) -> None:
    from runner.models import toys

    for key in ("embeddings", "loras"):
        for i, entry in enumerate(model[key]):
            path = scratch / f"{key}-{i}" / f"{Path(entry['file'] or entry['id']).stem}.safetensors"
            path.parent.mkdir()
            if key == "embeddings":
                toys.embedding(path, family=family, seed=i)
            else:
                toys.lora(path, scratch / "model", seed=i)
            entry |= {"id": str(path), "file": None, "revision": None}


def _few(sampling: dict[str, Any], scratch: Path) -> None:
    """Few and small pictures, by the same choices."""
    from runner.models import toys

    steps = sampling["num_inference_steps"]
    sampling |= {"num_inference_steps": _STEPS if steps == "auto" else min(_STEPS, steps)}
    sampling |= {"num_images": min(_VALUES, sampling["num_images"]), "batch_size": min(_VALUES, sampling["batch_size"])}
    sampling |= {"height": _SIDE, "width": _SIDE, "labels": None}
    if isinstance(sampling["prompts"], str):
        sampling["prompts"] = ["a red flower"]
    for key, most in (("prompts", _PROMPTS), ("seeds", _VALUES)):
        if sampling[key]:
            sampling[key] = sampling[key][:most]
    if sampling["clip_skip"]:
        sampling["clip_skip"] = 1
    sampling["matrix"] = {key: _few_values(key, values) for key, values in sampling["matrix"].items()}
    if sampling["init_image"]:
        sampling["init_image"] = _picture(scratch / "init.png", mask=False)
    if sampling["mask_image"]:
        sampling["mask_image"] = _picture(scratch / "mask.png", mask=True)
    if "refiner" in sampling:
        toys.sdxl_refiner(scratch / "refiner")
        sampling["refiner"] |= {"id": str(scratch / "refiner"), "revision": None, "variant": None}


def _few_values(key: str, values: list[Any]) -> list[Any]:
    """The first values of a matrix's key, small where they are numbers of steps, pixels or layers."""
    small = {"num_inference_steps": [_STEPS, _STEPS - 1], "height": [_SIDE] * 2, "width": [_SIDE] * 2}
    few = small.get(key, values)[: min(_VALUES, len(values))]
    return [min(1, value or 0) or None for value in few] if key == "clip_skip" else few


def _picture(path: Path, *, mask: bool) -> str:
    image = Image.new("L" if mask else "RGB", (_SIDE, _SIDE), "black" if mask else "skyblue")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="white" if mask else "crimson")
    image.save(path)
    return str(path)
