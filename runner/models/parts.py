"""One part of a saved model: which files hold it, whether they can, and its loading."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runner.errors import ModelError, Refused, causes
from runner.models.classes import Kind, class_of, kind_of, skeleton
from runner.models.family import Part
from runner.models.files import Files
from runner.models.foreign_code import asked_code
from runner.models.weight_files import inside, weight_files
from runner.models.weights import Shape, check_finite, check_shapes, read_header
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

__all__ = ["fetch_parts", "find_part", "load_part", "load_parts", "part_size", "skeleton"]

_AGAIN = "get its weights and its config.json again, both of the same model"
_ADAPTER = "adapter_config.json"


def find_part(
    files: Files, name: str, cls: str, *, variant: str | None, allow_pickle: bool, folder: str | None = None
) -> tuple[Part, dict[str, Any]]:
    """The files of one part, and its configuration; its weights are not read.

    Args:
        name: the part, such as 'unet'.
        cls: its class as model_index.json names it.
        variant: the weights that model.variant asks for; a part that has none of it takes the plain ones, as in
            diffusers, where another part has it.
        folder: its folder; None for one of its own name.

    Raises:
        ModelError: a file is missing or no configuration; it describes another class, or more than the weights hold.
        Refused: only pickles hold its weights and they are not allowed; it asks for code.
    """
    kind, folder = kind_of(cls, name), name if folder is None else folder
    config = _config(files, inside(folder, kind.config), cls, kind)
    if not kind.safe:
        return Part(cls, files, folder, tuple(_described(files, folder, kind))), config
    if inside(folder, _ADAPTER) in files.sizes:  # which transformers would lay over the weights by itself
        raise ModelError(
            f"{files.title(inside(folder, _ADAPTER))} is an adapter inside a model: name it in model.loras instead"
        )
    if name in files.held:
        return Part(cls, files, folder, (inside(folder, kind.config),)), config
    names, variant = weight_files(files, folder, kind, variant, allow_pickle)
    part = Part(cls, files, folder, (inside(folder, kind.config), *names), variant)
    _check_weights(part, config)
    return part, config


def load_part(part: Part, root: Path, *, dtype: torch.dtype, skeleton: nn.Module | None = None) -> Any:
    """The part in memory: a model in evaluation mode, a tokenizer, a scheduler, an image processor.

    Args:
        root: the folder that `part.files.fetch` gave.
        dtype: the number format of a model's weights.
        skeleton: the model without weights, where it is at hand.

    Raises:
        ModelError: a file is damaged, or its tensors are not those of the configuration, or hold NaN.
    """
    cls, kind = class_of(part.cls), kind_of(part.cls, part.folder)
    place = root / part.folder
    title = part.files.title(part.folder or kind.config)
    if not kind.safe:
        return _guarded(title, lambda: cls.from_pretrained(place, local_files_only=True))
    held = headers(part)
    if held and skeleton is not None:
        check_shapes(skeleton, held, title)
    model, info = _guarded(
        title,
        lambda: cls.from_pretrained(
            place,
            dtype=dtype,
            variant=part.variant,
            use_safetensors=_is_safe(part.names),
            local_files_only=True,
            output_loading_info=True,
        ),
    )
    for what, keys in (("lack", info["missing_keys"]), ("have a surplus of", info["unexpected_keys"])):
        if keys:
            raise ModelError(f"{title} does not fit its config.json: its weights {what} {_some(keys)}; {_AGAIN}")
    check_finite(model.state_dict().items(), title)
    return model


def fetch_parts(parts: Mapping[str, Part], progress: Progress) -> dict[str, Path]:
    """For each part the root that holds its files; what is not here yet is downloaded, with one bar for a repository.

    Raises:
        ModelError, EnvironmentFault: as `Files.fetch`.
    """
    wanted: dict[int, list[str]] = {}
    for part in parts.values():
        wanted.setdefault(id(part.files), []).extend(part.names)
    files = {id(part.files): part.files for part in parts.values()}
    roots = {key: files[key].fetch(names, progress) for key, names in wanted.items()}
    return {name: roots[id(part.files)] for name, part in parts.items()}


def load_parts(parts: Mapping[str, Part], progress: Progress, *, dtype: torch.dtype) -> dict[str, Any]:
    """Every part in memory; what is missing of one place is downloaded together.

    Raises:
        ModelError, EnvironmentFault: as `fetch_parts` and `load_part`.
    """
    roots = fetch_parts(parts, progress)
    return {name: load_part(part, roots[name], dtype=dtype) for name, part in parts.items()}


def part_size(part: Part) -> int:
    """The bytes of a part's files, as far as the hub says."""
    return sum(part.files.sizes.get(name) or 0 for name in part.names)


def headers(part: Part) -> dict[str, Shape]:
    """The tensors of a part whose safetensors files are on this machine.

    Raises:
        ModelError: a file is damaged.
    """
    found: dict[str, Shape] = {}
    for name in part.names:
        if name.endswith(".safetensors") and part.files.at(name) is not None:
            found |= read_header(part.files, name)
    return found


def _config(files: Files, name: str, cls: str, kind: Kind) -> dict[str, Any]:
    if name not in files.sizes and kind.takes:
        return {}  # a tokenizer without settings
    config = files.json(name)
    if not isinstance(config, dict):
        raise ModelError(f"{files.title(name)} is no configuration: get the model again")
    if code := asked_code(config):
        raise Refused(f"{files.title(name)} sets {shown(code)}: recipes cannot run code, choose another model")
    if config.get("quantization_config") or config.get("transformers_weights"):
        raise ModelError(
            f"{files.title(name)} is of quantized or renamed weights: this version of recipe reads plain ones"
        )
    found = config.get("model_type") if kind.model_types else config.get("_class_name")
    wanted = kind.model_types or (cls,)
    if kind.safe and found not in wanted:
        raise ModelError(f"{files.title(name)} is of class {shown(found)} where {cls} belongs: get the model again")
    return config


def _described(files: Files, folder: str, kind: Kind) -> Iterator[str]:
    """The files of a part without weights."""
    if not any(all(inside(folder, name) in files.sizes for name in whole) for whole in kind.needs):
        raise files.lacks(inside(folder, kind.needs[0][0]))
    known = {name for whole in kind.needs for name in whole} | set(kind.takes)
    yield from (inside(folder, name) for name in sorted(known) if inside(folder, name) in files.sizes)


def _check_weights(part: Part, config: dict[str, Any]) -> None:
    """Refuse a configuration that asks for more than its weights hold, before memory is taken for it."""
    title = part.files.title(inside(part.folder, kind_of(part.cls, part.folder).config))
    here = headers(part)  # of the files that are here already
    try:
        model = skeleton(part.cls, config)
    except ModelError as error:
        raise ModelError(f"{title}: {error}") from None
    wanted, held = sum(tensor.numel() for tensor in model.parameters()), part_size(part)
    if held and wanted > held:  # a weight takes a byte at the least
        raise ModelError(
            f"{title} describes a model of {wanted:,} numbers and its weights have {held:,} bytes, too few: "
            "get the model again"
        )
    check_shapes(model, here, part.files.title(part.folder))


def _guarded(title: str, load: Any) -> Any:
    try:
        return load()
    except MemoryError:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the libraries raise nearly anything on damaged files
        if any(isinstance(cause, pickle.UnpicklingError) for cause in causes(error)):
            raise Refused(f"{title} holds more than weights: take the model's .safetensors files") from error
        raise ModelError(f"{title} cannot be loaded ({type(error).__name__}): get the model again") from error


def _some(keys: Iterable[Any]) -> str:
    names = sorted(map(str, keys))
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return shown(", ".join(names[:3])) + rest


def _is_safe(names: Iterable[str]) -> bool:
    return any(name.endswith(".safetensors") for name in names)
