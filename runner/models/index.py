"""model_index.json: which pipeline a model is, of which parts, and which of our families draws it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from runner.errors import ModelError, Refused
from runner.models.files import Files
from runner.models.foreign_code import asked_code
from runner.shown import shown

INDEX = "model_index.json"

_LIBRARIES = {"diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl"}  # the last two: safety checkers
_TASKS = ("", "Img2Img", "Inpaint")
FAMILIES = {
    **{f"StableDiffusion{task}Pipeline": "stable_diffusion" for task in _TASKS},
    **{f"StableDiffusionXL{task}Pipeline": "stable_diffusion_xl" for task in _TASKS},
    **{f"StableDiffusion3{task}Pipeline": "stable_diffusion_3" for task in _TASKS},
    **{f"Flux{task}Pipeline": "flux" for task in _TASKS},
    **{f"{kind}Pipeline": "pixel_unet" for kind in ("DDPM", "DDIM", "PNDM")},
}
"""Pipeline class -> the family that draws it; a StableDiffusionXLImg2ImgPipeline without text_encoder is a refiner."""


class Index(NamedTuple):
    """What model_index.json says.

    Attributes:
        pipeline: the class name, a key of FAMILIES.
        parts: part name -> (library, class), without the parts that are null.
        options: its plain values, such as force_zeros_for_empty_prompt.
    """

    pipeline: str
    parts: dict[str, tuple[str, str]]
    options: dict[str, Any]


def read_index(files: Files) -> Index:
    """The pipeline that a model's folder describes.

    Raises:
        ModelError: there is no index, or its pipeline is of a class that no family draws.
        Refused: it asks for code of its own.
    """
    if INDEX not in files.sizes:
        raise _no_index(files)
    index, title = files.json(INDEX), files.title(INDEX)
    if not isinstance(index, dict):
        raise ModelError(f"{title} is not an index of diffusers: get the model again")
    pipeline = index.get("_class_name")
    code = asked_code(index)
    if isinstance(pipeline, list) or code:
        asks = f"its pipeline is {shown(pipeline)}" if isinstance(pipeline, list) else f"it sets {shown(code)}"
        raise _runs_code(title, asks)
    if pipeline not in FAMILIES:
        known = ", ".join(dict.fromkeys(FAMILIES.values()))
        raise ModelError(f"{title} is of class {shown(pipeline)}: choose a model of a family that is drawn ({known})")
    parts, options = {}, {}
    for name, value in index.items():
        if isinstance(value, list):
            part = _part(title, name, value)
            if part is not None:
                parts[name] = part
        elif not name.startswith("_"):
            options[name] = value
    return Index(pipeline, parts, options)


def family_of(files: Files, family: str) -> str:
    """The family that draws a model's folder.

    Args:
        family: the recipe's `model.family`; 'auto' takes what the files say.

    Raises:
        ModelError: no family draws it, or it is not of the given one.
        Refused: it asks for code of its own.
    """
    found = _family(files)
    if family not in ("auto", found):
        raise ModelError(
            f"{shown(files.origin)} is a model of family {found}, not {family}: correct model.family or model.id"
        )
    return found


def _family(files: Files) -> str:
    if INDEX not in files.sizes and "unet/config.json" in files.sizes:
        config = files.json("unet/config.json")
        if isinstance(config, dict) and config.get("_class_name") == "UNet2DModel":
            return "pixel_unet"
    index = read_index(files)
    if index.pipeline == "StableDiffusionXLImg2ImgPipeline" and "text_encoder" not in index.parts:
        return "sdxl_refiner"
    return FAMILIES[index.pipeline]


def _part(title: str, name: str, value: list[Any]) -> tuple[str, str] | None:
    match value:
        case [None, None]:
            return None
        case [str(library), str(cls)]:
            if library not in _LIBRARIES or not re.fullmatch(r"\w+", name):
                raise _runs_code(title, f"its {shown(name)} is {shown(cls)} of {shown(library)}")
            return library, cls
    raise ModelError(f"{title} has a {shown(name)} that is no [library, class]: get the model again")


def _runs_code(title: str, asks: str) -> Refused:
    return Refused(f"{title} asks for code of its own ({asks}): recipes cannot run code, choose another model")


def _no_index(files: Files) -> ModelError:
    single = sorted(name for name in files.sizes if "/" not in name and name.endswith(".safetensors"))
    where = shown(files.origin)
    if single and "config.json" not in files.sizes:
        return ModelError(
            f"{where} has no {INDEX}: model.file names one of its checkpoints ({shown(', '.join(single))})"
        )
    return ModelError(f"{where} has no {INDEX}: a model is a folder in diffusers' layout or a single .safetensors file")
