"""An image-to-text model on the disk or the hub: whether transformers can run it, and which files that needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import file_digest, sha256
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as MODELS
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES as PROCESSORS  # type: ignore[attr-defined]

from runner.errors import ModelError, Refused
from runner.models.classes import Kind
from runner.models.files import Files
from runner.models.foreign_code import asked_code, pairs
from runner.models.quiet import quiet
from runner.models.weight_files import weight_files
from runner.models.weights import check_shapes, read_header
from runner.outputs.files import faults
from runner.shown import shown

BLIP = "blip"
CONFIG = "config.json"
SUGGESTED = "Salesforce/blip-image-captioning-base"

_KIND = Kind("transformers", CONFIG, "model", "pytorch_model")
_PICTURES = ("processor_config.json", "preprocessor_config.json")
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_SETTINGS = (CONFIG, "generation_config.json", *_PICTURES, "video_preprocessor_config.json", "tokenizer_config.json")
_BESIDE = ("special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja", "chat_template.json")
_ELSEWHERE = {"adapter_config.json": "an adapter", "audio_tokenizer_config.json": "an audio tokenizer"}
_MOST_LAYERS = 1000  # in one number of a configuration


@dataclass(frozen=True)
class CaptionFacts:
    """What is known of an image-to-text model without its weights.

    Attributes:
        files: what holds it.
        names: the files of it that are loaded.
        model_type: as config.json says, such as 'blip'.
        cls: the class of transformers that runs it.
        config: what config.json holds.
        parameters: how many numbers it has.
    """

    files: Files
    names: tuple[str, ...]
    model_type: str
    cls: str
    config: dict[str, Any]
    parameters: int

    def fingerprint(self) -> str:
        """A hex digest of the model: of the repository's commit, or of all bytes of a folder's files.

        Raises:
            EnvironmentFault: a file cannot be read.
        """
        if self.files.revision is not None:
            known: list[Any] = [self.files.origin, self.files.revision, self.names]
            return sha256(json.dumps(known).encode("ascii")).hexdigest()
        digest = sha256()
        for name in self.names:
            path = self.files.at(name)
            assert path is not None  # a folder's files are all here
            with faults(path, "read"), path.open("rb") as file:
                digest.update(name.encode() + file_digest(file, "sha256").digest())
        return digest.hexdigest()


def inspect(files: Files, *, allow_pickle: bool) -> CaptionFacts:
    """What an image-to-text model is, from its configuration and the headers of its weights.

    Raises:
        ModelError: a file is missing or broken; transformers has no such model, or none that describes pictures.
        Refused: it asks for code of its own; only pickles hold its weights and they are not allowed.
        EnvironmentFault: the hub cannot be asked.
    """
    if CONFIG not in files.sizes:
        fault = files.lacks(CONFIG)
        if type(fault) is not ModelError:
            raise fault
        raise ModelError(
            f"{shown(files.origin)} has no {CONFIG}: data.caption.id names an image-to-text model of transformers, "
            f"such as {SUGGESTED}"
        )
    for name, what in _ELSEWHERE.items():
        if name in files.sizes:
            raise ModelError(f"{shown(files.origin)} has {what} that lies elsewhere ({name}): choose a whole model")
    described = {name: _described(files, name) for name in _SETTINGS if name in files.sizes}
    config = described[CONFIG]
    model_type, cls = _class(files, described)
    for several in (_PICTURES, _WORDS):
        if not any(name in files.sizes for name in several):
            raise files.lacks(several[0])
    weights, _ = weight_files(files, "", _KIND, None, allow_pickle)
    model = skeleton(files.title(CONFIG), model_type, cls, config)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    _check_weights(files, weights, model, parameters)
    beside = [name for name in (*_WORDS, *_BESIDE) if name in files.sizes]
    return CaptionFacts(files, tuple(sorted({*described, *beside, *weights})), model_type, cls, config, parameters)


def skeleton(title: str, model_type: str, cls: str, config: dict[str, Any]) -> nn.Module:
    """The model without memory for its weights, on torch's meta device.

    Raises:
        ModelError: the configuration builds no such model.
    """
    quiet()
    try:
        for key, value in pairs(config):
            if "layer" in key and isinstance(value, int) and value > _MOST_LAYERS:
                raise ValueError(f"{key} is {value:,}")
        with torch.device("meta"):
            built: nn.Module = getattr(transformers, cls)(transformers.CONFIG_MAPPING[model_type].from_dict(config))
    except Exception as error:  # nearly anything is raised on values that nothing can be built from
        reason = shown(str(error).strip().split("\n")[0])
        raise ModelError(f"{title} builds no {cls} ({type(error).__name__}: {reason}): get the model again") from None
    return built


def _class(files: Files, described: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The model's type and its class, where transformers has it and a processor for it."""
    title, config = files.title(CONFIG), described[CONFIG]
    model_type = str(config.get("model_type"))
    named = {str(settings.get("processor_class")) for settings in described.values()}
    if config.get("quantization_config") or config.get("transformers_weights"):
        raise ModelError(f"{title} is of quantized or renamed weights: this version of recipe reads plain ones")
    processed = model_type in PROCESSORS or not named.isdisjoint(PROCESSORS.values())
    if model_type not in MODELS or not processed:
        raise ModelError(
            f"{title} is of type {shown(model_type)}, which transformers {transformers.__version__} has no "
            f"image-to-text model for: choose one that it has, such as {SUGGESTED}"
        )
    return model_type, MODELS[model_type]


def _described(files: Files, name: str) -> dict[str, Any]:
    """A JSON file of settings, which asks for no code."""
    value, title = files.json(name), files.title(name)
    if not isinstance(value, dict):
        raise ModelError(f"{title} is no configuration: get the model again")
    if code := asked_code(value):
        raise Refused(f"{title} sets {shown(code)}: recipes cannot run code, choose another model")
    return value


def _check_weights(files: Files, weights: list[str], model: nn.Module, parameters: int) -> None:
    """Refuse weights that are damaged or too few, before anything is downloaded or memory is taken."""
    held = sum(files.sizes.get(name) or 0 for name in weights)
    if held and parameters > held:  # a weight takes a byte at the least
        raise ModelError(
            f"{files.title(CONFIG)} describes a model of {parameters:,} numbers and its weights have {held:,} bytes, "
            "too few: get the model again"
        )
    for name in weights:
        if name.endswith(".safetensors") and files.at(name) is not None:
            check_shapes(model, read_header(files, name), files.title(name))
