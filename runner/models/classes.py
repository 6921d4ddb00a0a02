"""The classes that parts of a saved model may be of; a name that is not listed here is never looked up."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
from torch import nn

from runner.diffusion.samplers import SCHEDULERS
from runner.errors import ModelError
from runner.models.quiet import quiet
from runner.shown import shown

_MOST_LAYERS = 1000  # in one number of a configuration; the largest released text encoders have under 100
_LONGEST_LIST = 1000


class Kind(NamedTuple):
    """How a class is saved.

    Attributes:
        module: where it is imported from.
        config: the file that describes it.
        safe, pickled: the stems of its weight files, '' for a class without weights.
        model_types: what `model_type` in its configuration may say; of diffusers' own classes `_class_name` must be it.
        needs: sets of files of which one must be there whole, for a class without weights.
        takes: further files that belong to it.
    """

    module: str
    config: str
    safe: str = ""
    pickled: str = ""
    model_types: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    takes: tuple[str, ...] = ()


_DIFFUSERS = Kind("diffusers", "config.json", "diffusion_pytorch_model", "diffusion_pytorch_model")
_SCHEDULER = Kind("diffusers", "scheduler_config.json", needs=(("scheduler_config.json",),))
_TRANSFORMER = Kind("transformers", "config.json", "model", "pytorch_model")
_CLIP = _TRANSFORMER._replace(model_types=("clip_text_model", "clip"))
_PROCESSOR = Kind("transformers", "preprocessor_config.json", needs=(("preprocessor_config.json",),))
_TOKENIZER = Kind(
    "transformers",
    "tokenizer_config.json",
    needs=(("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",)),
    takes=("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)

_MODELS = {
    **dict.fromkeys(
        ("UNet2DConditionModel", "UNet2DModel", "AutoencoderKL", "SD3Transformer2DModel", "FluxTransformer2DModel"),
        _DIFFUSERS,
    ),
    **dict.fromkeys(("CLIPTextModel", "CLIPTextModelWithProjection"), _CLIP),
    "T5EncoderModel": _TRANSFORMER._replace(model_types=("t5",)),
    "CLIPVisionModelWithProjection": _TRANSFORMER._replace(model_types=("clip_vision_model", "clip")),
    "StableDiffusionSafetyChecker": _TRANSFORMER._replace(
        module="diffusers.pipelines.stable_diffusion.safety_checker", model_types=("clip",)
    ),
}
_OTHERS = {
    **dict.fromkeys(SCHEDULERS, _SCHEDULER),
    **dict.fromkeys(("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast"), _TOKENIZER),
    **dict.fromkeys(("CLIPImageProcessor", "CLIPImageProcessorPil", "CLIPFeatureExtractor"), _PROCESSOR),
}
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}  # transformers 5 knows the new name only


def kind_of(cls: str, part: str) -> Kind:
    """How the class `cls` of a part is saved.

    Raises:
        ModelError: it is not listed.
    """
    kind = _MODELS.get(cls) or _OTHERS.get(cls)
    if kind is None:
        raise ModelError(
            f"the model's {shown(part)} is of class {shown(cls)}, which this version of recipe does not read"
        )
    return kind


def class_of(cls: str) -> Any:
    """The class of that listed name; its library shows nothing from now on: what is wrong is said by our errors."""
    quiet()
    return getattr(importlib.import_module(kind_of(cls, "part").module), _RENAMED.get(cls, cls))


def skeleton(cls_name: str, config: dict[str, Any]) -> nn.Module:
    """A model without memory for its weights (torch's meta device): to count and to compare, not to run.

    Args:
        cls_name: a listed class with weights.
        config: what its config.json holds.

    Raises:
        ModelError: the configuration builds no such model.
    """
    cls = class_of(cls_name)
    try:
        _check_sizes(config)
        with torch.device("meta"):
            if _MODELS[cls_name] is _DIFFUSERS:
                model = cls.from_config(config)
            else:
                model = cls(cls.config_class.from_dict(config))
    except Exception as error:  # nearly anything is raised on values that nothing can be built from
        reason = shown(str(error).strip().split("\n")[0])
        raise ModelError(
            f"its configuration builds no {cls_name} ({type(error).__name__}: {reason}): get it again"
        ) from None
    return model  # type: ignore[no-any-return]


def _check_sizes(value: Any, name: str = "") -> None:
    """Refuse what would take forever to build even without memory."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, str(key))
    elif isinstance(value, list):
        if len(value) > _LONGEST_LIST and "id2label" not in name:
            raise ValueError(f"{name} has {len(value):,} entries")
        for inner in value:
            _check_sizes(inner, name)
    elif "layer" in name and isinstance(value, int) and value > _MOST_LAYERS:
        raise ValueError(f"{name} is {value:,}")
