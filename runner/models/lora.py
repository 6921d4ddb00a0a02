"""LoRAs: loaded by diffusers, which takes what fits and only logs the rest; judged before, counted after."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import ModelError
from runner.models.family import Extra
from runner.models.quiet import silent
from runner.models.weights import check_finite, read_header, read_tensors
from runner.shown import shown

_LAYER = re.compile(r"[._](lora_A|lora_B|down|up)\.weight$")
_LOWER = re.compile(r"(?:\.lora|\.lora_linear_layer)?[._](?:lora_A|down)\.weight$")
"""The matrix of a layer that reads its input, whose name begins with the layer's own."""


def lay_lora(pipeline: Any, extra: Extra, path: Path, name: str, family: str) -> None:
    """Lays a LoRA over the parts of a pipeline, as the adapter `name`.

    Raises:
        ModelError: it is damaged, or not all of it fits the model.
    """
    title, mend = extra.files.title(extra.name), f"take one made for {family}"
    source, options, keys = _source(extra, path)
    held = _matrices(pipeline, source, options, keys, title, mend)
    check_finite(held.items(), title)
    _judge(pipeline, held, title, mend)
    with silent(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several LoRAs are meant
        try:
            pipeline.load_lora_weights(source, adapter_name=name, **options)
        except Exception as error:  # diffusers and peft raise many kinds on keys and shapes that do not fit
            raise ModelError(f"{title} does not fit this model ({type(error).__name__}): {mend}") from error
    _count(pipeline, held, name, title, mend)


def _source(extra: Extra, path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    """What diffusers' loaders take for this file, with which options; and the names of its tensors."""
    if not extra.name.endswith(".safetensors"):
        held = read_tensors(extra.files, extra.name, path)
        return held, {}, list(map(str, held)) if isinstance(held, dict) else []
    options = {"weight_name": path.name, "use_safetensors": True, "local_files_only": True}
    return path.parent, options, list(read_header(extra.files, extra.name))


def _matrices(
    pipeline: Any, source: Any, options: dict[str, Any], keys: list[str], title: str, mend: str
) -> dict[str, Tensor]:
    """The tensors of a LoRA by diffusers' names, whoever wrote it."""
    unet = getattr(pipeline, "unet", None)
    config = None if unet is None else unet.config
    try:
        with silent():
            read: Any = pipeline.lora_state_dict(source, unet_config=config, **options)
    except Exception as error:  # raised by the conversion of names that it does not know
        strange = next((f"nothing takes {shown(key)}" for key in keys if key in str(error)), type(error).__name__)
        raise ModelError(f"{title} is no LoRA for this model ({strange}): {mend}") from error
    held: dict[str, Tensor] = read[0] if isinstance(read, tuple) else read
    return held


def _judge(pipeline: Any, held: Mapping[str, Tensor], title: str, mend: str) -> None:
    """Compare what the layers of the LoRA read with what those of the model read, before diffusers changes it.

    Raises:
        ModelError: they are of another width, or for a part that the model has not.
    """
    modules: dict[str, dict[str, nn.Module]] = {}
    for key, tensor in held.items():
        begin, _, rest = key.partition(".")
        part = getattr(pipeline, begin, None)
        if begin in ("unet", "transformer", "text_encoder", "text_encoder_2") and part is None:
            raise ModelError(f"{title} was made for a model with a {begin}, and this one has none: {mend}")
        layer = _LOWER.search(rest)
        if layer is None or not isinstance(part, nn.Module) or tensor.ndim < 2:
            continue
        named = modules.setdefault(begin, dict(part.named_modules()))
        place = rest[: layer.start()]
        module = named.get(place) or named.get(place.removeprefix("text_model."))  # its name before transformers 5
        own = getattr(module, "base_layer", module)  # where another LoRA lies already
        width, found = getattr(own, "in_features", getattr(own, "in_channels", None)), tensor.shape[1]
        if width is not None and width != found:
            what = "text" if "attn2.to_" in rest else f"a {shown(place)}"
            raise ModelError(f"{title} was made for {what} {found} wide and this model's is {width} wide: {mend}")


def _count(pipeline: Any, held: Mapping[str, Tensor], name: str, title: str, mend: str) -> None:
    """Look whether every matrix of the LoRA has found a place, and every place its matrix.

    Raises:
        ModelError: they have not.
    """
    wanted = [key for key in held if _LAYER.search(key)]
    places = [
        tensor
        for part in pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for key, tensor in part.named_parameters()
        if f".{name}." in key
    ]
    taken = sum(not tensor.is_meta for tensor in places)
    if taken < max(len(wanted), len(places), 1):
        first = next(iter(wanted or held), "nothing")
        raise ModelError(
            f"{title} does not fit this model: of its {len(wanted)} matrices {taken} fill the {len(places)} places "
            f"in it (it begins with {shown(first)}); {mend}"
        )
