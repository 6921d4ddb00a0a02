"""The rehearsal of a recipe with a pretrained model: a toy of its family, and toys of all that is laid over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from runner.errors import RecipeError
from runner.language.drawn import FLOW_FAMILIES
from runner.language.problems import Problem, RecipeProblems
from runner.language.recipe import Recipe
from runner.language.resolve import fill
from runner.language.schemas import Place, read
from runner.models import family_class
from runner.models.files import Files, open_files
from runner.models.index import family_of

_SIDE = 64  # pixels
_STEPS = 4
_STRENGTH = 0.5  # at least, so that few steps leave one to draw
_VALUES = 2  # of each key of a matrix
_PROMPTS = 2
_SCHEMA = "sampling/pretrained.json"
_LIKELY = ("stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux", "sdxl_refiner", "pixel_unet")
_CAN_TAKE_A_MASK = ("stable_diffusion", "stable_diffusion_xl")
_NOT_TAKEN = {"embeddings": (*FLOW_FAMILIES, "pixel_unet"), "loras": ("pixel_unet",)}
_WITHHOLDS_NOTHING = 2.0
_INPAINTING = 9  # channels of a UNet that takes the mask in


def toy_pretrained(recipe: Recipe, small: dict[str, Any], scratch: Path) -> None:
    """Makes the `model` section of a rehearsal small, in place.

    Args:
        recipe: as written.
        small: a copy of its values.
        scratch: a folder for the toys.
    """
    model = small["model"]
    files = _files(recipe)
    family = _family(files, small)
    problems = list(_impossible(recipe, family))
    if problems:
        raise RecipeProblems(problems)
    _toy_model(scratch / "model", family, model, for_inpainting=_for_inpainting(files, family))
    model |= {"id": str(scratch / "model"), "family": family, "file": None, "config": None, "config_revision": None}
    model |= {"revision": None, "subfolder": None, "variant": None}
    _toy_extras(model, family, scratch)


def toy_vae(folder: Path, family: str = "stable_diffusion") -> None:
    """Saves a VAE for toys of a family."""
    from runner.models import toys

    toys.vae(folder, family=family)


def _files(recipe: Recipe) -> Files | None:
    """The model's files, where they are at hand."""
    model = recipe.values["model"]
    where = {"revision": model["revision"], "subfolder": model["subfolder"]}
    try:
        return open_files(model["id"], base=recipe.folder_of(("model", "id")), key="model.id", offline=True, **where)
    except RecipeError:
        return None


def _family(files: Files | None, small: dict[str, Any]) -> str:
    """The model's family: as written, as its files say where they are at hand, else the first that knows its keys."""
    model, sampling = small["model"], small.get("sampling", {})
    if model["family"] != "auto":
        return str(model["family"])
    if files is not None:
        with suppress(RecipeError):
            return family_of(files, "auto")
    if "text_encoder_2" in small.get("adapter", {}).get("parts", ()):
        return "stable_diffusion_xl"
    default = fill([Place(_SCHEMA, read(_SCHEMA))], {})
    used = {key for key, value in sampling.items() if value != default.get(key)}
    used |= set(sampling.get("matrix", {}))
    likely = (name for name in _LIKELY if used <= family_class(name).KEYS)
    return next(likely, "stable_diffusion") if sampling.get("prompts") or "sampling" not in small else "pixel_unet"


def _for_inpainting(files: Files | None, family: str) -> bool:
    """Whether the model's own UNet takes the mask in; one without such channels repaints as well."""
    if files is None or family not in _CAN_TAKE_A_MASK:
        return False
    with suppress(RecipeError):
        config = files.json("unet/config.json")
        return isinstance(config, dict) and config.get("in_channels") == _INPAINTING
    return False


def _impossible(recipe: Recipe, family: str) -> Iterator[Problem]:
    """What no model of this family has: told here, where sentences still know the recipe's own names."""
    model = recipe.values["model"]
    if model["safety_checker"] is True and family != "stable_diffusion":
        message = f"a {family} model ships no safety checker: write auto or false"
        yield recipe.problem(("model", "safety_checker"), "safety-checker", message)
    for key, without in _NOT_TAKEN.items():
        if model[key] and family in without:
            message = f"a {family} model takes no {key}: take them out"
            yield recipe.problem(("model", key), "not-of-this-family", message)


def _toy_model(folder: Path, family: str, model: dict[str, Any], *, for_inpainting: bool) -> None:
    from runner.models import toys

    channels = _INPAINTING if for_inpainting else 4
    if family == "stable_diffusion":
        checker = _WITHHOLDS_NOTHING if model["safety_checker"] is True else None
        toys.stable_diffusion(folder, in_channels=channels, safety_checker=checker)
    elif family == "stable_diffusion_xl":
        toys.stable_diffusion_xl(folder, in_channels=channels)
    else:
        family_class(family).toy(folder)


def _toy_extras(model: dict[str, Any], family: str, scratch: Path) -> None:
    """Toys of the VAE, the embeddings and the LoRAs that are laid over the model."""
    from runner.models import toys

    if "vae" in model:
        toy_vae(scratch / "vae", family)
        model["vae"] |= {"id": str(scratch / "vae"), "revision": None, "subfolder": None, "variant": None}
    tokens: set[str] = set()
    for i, entry in enumerate(model["embeddings"]):
        path = _toy_file(scratch, "embeddings", i, entry)
        toys.embedding(path, family=family, seed=i)
        token = entry["token"] or path.stem
        entry["token"] = f"{token}-{i}" if token in tokens else token  # two files of one name may hold two words
        tokens.add(entry["token"])
    for i, entry in enumerate(model["loras"]):
        toys.lora(_toy_file(scratch, "loras", i, entry), scratch / "model", seed=i)


def _toy_file(scratch: Path, key: str, i: int, entry: dict[str, Any]) -> Path:
    """Points an entry at a file to be made, of the same name."""
    path = scratch / f"{key}-{i}" / f"{Path(entry['file'] or entry['id']).stem}.safetensors"
    path.parent.mkdir()
    entry |= {"id": str(path), "file": None, "revision": None}
    return path


def few_pictures(sampling: dict[str, Any], scratch: Path) -> None:
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
    if isinstance(sampling["strength"], float | int):
        sampling["strength"] = max(_STRENGTH, sampling["strength"])
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
    if key == "strength":
        return [max(_STRENGTH, value) for value in few]
    return [min(1, value or 0) or None for value in few] if key == "clip_skip" else few


def _picture(path: Path, *, mask: bool) -> str:
    image = Image.new("L" if mask else "RGB", (_SIDE, _SIDE), "black" if mask else "skyblue")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="white" if mask else "crimson")
    image.save(path)
    return str(path)
