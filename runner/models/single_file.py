"""A model in one checkpoint file: what it is, and which configuration describes it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.loaders import single_file_utils as known

from runner.errors import EnvironmentFault, ModelError, RecipeError, Refused
from runner.models.family import Part
from runner.models.files import Files, open_files
from runner.models.index import INDEX
from runner.models.weights import PICKLES, check_pickle, read_header
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_TYPES = {
    *("v1", "v2", "inpainting", "inpainting_v2", "xl_base", "xl_refiner", "xl_inpaint"),
    *("sd3", "sd35_medium", "sd35_large", "flux-dev", "flux-schnell"),
}
_KEYS = known.CHECKPOINT_KEY_NAMES
UNET = "model.diffusion_model."
_CLIP = {
    "text_encoder": ("clip", "open_clip", "clip_sdxl", "clip_sd3"),
    "text_encoder_2": ("open_clip_sdxl", "open_clip_sdxl_refiner", "open_clip_sd3"),
}
_T5 = "text_encoders.t5xxl.transformer.shared.weight"


class Checkpoint(Files):
    """A configuration's files with a checkpoint that holds the weights of the parts in `held`.

    Attributes:
        part: the checkpoint's own file.
        shapes: its tensors.
    """

    def __init__(self, part: Part, shapes: Mapping[str, Any], config: Files) -> None:
        self.part, self.shapes, self._config = part, shapes, config
        self.origin, self.revision, self.sizes = config.origin, config.revision, config.sizes
        self.held = frozenset(_held(shapes))

    def at(self, name: str) -> Path | None:
        return self._config.at(name)

    def fetch(self, names: Sequence[str], progress: Progress) -> Path:
        return self._config.fetch(names, progress)

    def lacks(self, name: str) -> RecipeError:
        if name.endswith((".safetensors", ".bin")):
            title = self.part.files.title(self.part.names[0])
            return ModelError(
                f"{title} holds no {shown(Path(name).parent.name)}, and neither does {self.title('')[:-1]}"
            )
        return self._config.lacks(name)

    def json(self, name: str) -> Any:
        """As the configuration's; a safety checker is in no checkpoint, so the index has none."""
        value = self._config.json(name)
        if name == INDEX and isinstance(value, dict):
            return {key: entry for key, entry in value.items() if key != "safety_checker"}
        return value

    def start(self, name: str, count: int) -> bytes:
        return self._config.start(name, count)


def open_checkpoint(
    files: Files, name: str, config: Files | None, *, revision: str | None = None, offline: bool, allow_pickle: bool
) -> Checkpoint:
    """The files of a model whose weights lie in one checkpoint.

    Args:
        files, name: the checkpoint.
        config: a diffusers folder or repository that describes it; None for diffusers' own choice on the hub.
        revision: of that choice.

    Raises:
        ModelError: it is damaged, or no checkpoint of a family that can be drawn.
        EnvironmentFault: the hub is needed for the configuration and cannot be asked.
        Refused: it is a pickle and those are not allowed.
    """
    if name not in files.sizes:
        raise _no_file(files, name)
    title = files.title(name)
    shapes = shapes_of(files, name, allow_pickle)
    _check_known(shapes, title)
    if config is None:
        config = _default_config(shapes, title, revision, offline=offline)
    return Checkpoint(Part("", files, "", (name,)), shapes, config)


def _no_file(files: Files, name: str) -> RecipeError:
    fault = files.lacks(name)
    if not isinstance(fault, ModelError):
        return fault
    there = sorted(file for file in files.sizes if "/" not in file and file.endswith(".safetensors"))
    held = f"; it has {', '.join(map(shown, there[:4]))}{' …' if len(there) > 4 else ''}" if there else ""
    return ModelError(f"{shown(files.origin)} has no file {shown(name)}: correct model.file{held}")


def shapes_of(files: Files, name: str, allow_pickle: bool) -> Mapping[str, Any]:
    """The checkpoint's tensors, or what stands for them: all have a `shape`."""
    if name.endswith(".safetensors"):
        return read_header(files, name)
    title, path = files.title(name), files.at(name)
    if not name.endswith(PICKLES):
        raise ModelError(f"{title} is no model: give a folder in diffusers' layout or a .safetensors file")
    check_pickle(f"{title} is a pickle", allow_pickle)
    if path is None:
        raise ModelError(f"{title} is a pickle that is not on this machine: download it and give its path")
    try:
        found = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        raise Refused(f"{title} holds more than weights: take the model's .safetensors file") from None
    except Exception as error:
        raise ModelError(f"{title} is damaged ({type(error).__name__}): get the file again") from None
    while isinstance(found, dict) and "state_dict" in found:
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise ModelError(f"{title} is no checkpoint of a model: correct model.id")
    return {key: tensor for key, tensor in found.items() if isinstance(tensor, torch.Tensor)}


def _check_known(shapes: Mapping[str, Any], title: str) -> None:
    if any("lora" in key.lower() for key in shapes):
        raise ModelError(f"{title} is a LoRA and no whole model: write it under model.loras")
    if not {"unet", "transformer"} & set(_held(shapes)):
        raise ModelError(
            f"{title} is no checkpoint of Stable Diffusion or Flux: it holds no denoiser under a known name"
        )


def _default_config(shapes: Mapping[str, Any], title: str, revision: str | None, *, offline: bool) -> Files:
    """The repository that diffusers reads the configuration of such a checkpoint from."""
    try:
        found = known.infer_diffusers_model_type(shapes)
    except Exception:  # written for whole checkpoints: it looks into tensors that may not be there
        found = "unknown"
    if found not in _TYPES:
        raise ModelError(f"{title} is a checkpoint of type {found}: write model.config, or choose another model")
    id = known.DIFFUSERS_DEFAULT_PIPELINE_PATHS[found]["pretrained_model_name_or_path"]
    try:
        return open_files(id, base=Path("/nowhere"), key="model.config", revision=revision, offline=offline)
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"{title} holds no configuration, and {id}, which describes it, cannot be read: "
            f"write model.config with a diffusers folder of the same kind ({error})"
        ) from None


def _held(shapes: Mapping[str, Any]) -> Iterator[str]:
    """The parts whose weights a checkpoint holds, by diffusers' names."""
    if any(key in shapes for names in (_KEYS["sd3"], _KEYS["flux"]) for key in names):
        yield "transformer"
    elif any(key.startswith(UNET) for key in shapes):
        yield "unet"
    if any(key.startswith(tuple(known.LDM_VAE_KEYS)) for key in shapes):
        yield "vae"
    for part, names in _CLIP.items():
        if any(_KEYS[name] in shapes for name in names):
            yield part
    if _T5 in shapes:
        yield "text_encoder_2" if any(key in shapes for key in _KEYS["flux"]) else "text_encoder_3"
