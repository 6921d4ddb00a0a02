"""Weight files as they lie on the disk: what their headers say, and what is wrong with them, without loading them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from runner.errors import ModelError, Refused
from runner.models.files import Files
from runner.shown import shown
from runner.tally import gibibytes

PICKLES = (".ckpt", ".pt", ".bin", ".pth")
"""How the names of weight files end that are pickles."""

_LARGEST_HEADER = 10**8  # bytes, as safetensors itself allows
_SAFE_TORCH = "2.10"  # below it weights_only can be made to run code: CVE-2026-24747, GHSA-63cw-57p8-fm3p
_FIRST = 2**18  # bytes to begin with: the header of most files
_BITS = {
    **{"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32},
    **{"F16": 16, "BF16": 16, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}


class Shape(NamedTuple):
    """A tensor's number format, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(files: Files, name: str) -> dict[str, Shape]:
    """The tensors that a safetensors file holds, from its header alone; of a hub's file only that is read.

    Source: the format in safetensors' README: 8 bytes little-endian length, JSON, then the tensors without gaps.

    Raises:
        ModelError: it is a placeholder, a web page, empty, cut short or damaged.
        EnvironmentFault: the hub cannot be asked.
    """
    title, path = files.title(name), files.at(name)
    start = files.start(name, _FIRST)
    size = path.stat().st_size if path else files.sizes[name] or len(start)
    _check_start(start, size, title)
    length = int.from_bytes(start[:8], "little")
    if length > _LARGEST_HEADER:
        raise ModelError(f"{title} is damaged (its header is of {length:,} bytes): get the file again")
    if size < 8 + length:
        raise _cut(title, size, None)
    if len(start) < 8 + length:
        start = files.start(name, 8 + length)
    header = _parsed(start[8 : 8 + length], title)
    whole = 8 + length + max((end for _, end in header.values()), default=0)
    if size < whole:
        raise _cut(title, size, whole)
    if size > whole:
        raise ModelError(f"{title} is damaged (its header describes less than the file holds): get the file again")
    return {key: shape for key, (shape, _) in header.items()}


def _check_start(start: bytes, size: int, title: str) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{title} is a Git LFS placeholder, not the weights: run 'git lfs pull' in the model's folder")
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise ModelError(f"{title} is a web page, not the weights: download the file itself")
    if size == 0:
        raise ModelError(f"{title} is empty: get the file again")
    if size < 8:
        raise _cut(title, size, None)


def _cut(title: str, size: int, whole: int | None) -> ModelError:
    of = "" if whole is None else f" of {gibibytes(whole)}"
    return ModelError(f"{title} is cut short: {gibibytes(size)}{of}; get the file again")


def _parsed(text: bytes, title: str) -> dict[str, tuple[Shape, int]]:
    """Tensor name -> its shape and where its bytes end."""
    try:
        header = json.loads(text)
        found = {key: _tensor(value) for key, value in header.items() if key != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{title} is damaged (its header is no description of tensors): get the file again") from None
    place = 0
    for begin, end, key in sorted((*header[key]["data_offsets"], key) for key in found):
        if begin != place or end < begin:
            raise ModelError(f"{title} is damaged ({shown(key)} does not lie where it should): get the file again")
        place = end
    return found


def _tensor(value: dict[str, Any]) -> tuple[Shape, int]:
    shape = tuple(int(length) for length in value["shape"])
    begin, end = value["data_offsets"]
    if min(shape, default=0) < 0 or math.prod(shape) * _BITS[value["dtype"]] != 8 * (end - begin):
        raise ValueError(value)
    return Shape(value["dtype"], shape), end


def read_tensors(files: Files, name: str, path: Path) -> Any:
    """What an embedding's or LoRA's file holds; a pickle is read as plain data.

    Args:
        path: where the file lies.

    Raises:
        ModelError: it is damaged, or a pickle of more than tensors.
    """
    if name.endswith(".safetensors"):
        read_header(files, name)
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle of anything else than tensors, or a damaged one
        title, kind = files.title(name), shown(type(error).__name__)
        raise ModelError(f"{title} cannot be read with weights_only ({kind}): take a .safetensors file") from None


def check_shapes(model: nn.Module, held: dict[str, Shape], title: str) -> None:
    """Compare the tensors that a file and a model both have.

    Raises:
        ModelError: one is of another shape.
    """
    for key, tensor in model.state_dict().items():
        if key in held and held[key].shape != tuple(tensor.shape):
            raise ModelError(
                f"{title} does not fit its config.json: {shown(key)} should be {_times(tensor.shape)} "
                f"and is {_times(held[key].shape)}; get both again, of the same model"
            )


def check_pickle(what: str, allowed: bool) -> None:
    """Whether a pickle may be read.

    Args:
        what: begins the sentence.

    Raises:
        Refused: --allow-pickle is not given, or this torch has known holes in weights_only.
    """
    if not allowed:
        raise Refused(f"{what}: take a .safetensors file, or --allow-pickle reads it with weights_only")
    if torch.__version__ < _SAFE_TORCH:  # it compares by number
        raise Refused(f"{what}: torch {torch.__version__} cannot read it safely, update torch to {_SAFE_TORCH}")


def check_finite(tensors: Iterable[tuple[str, Tensor]], title: str) -> None:
    """Look for numbers that are none.

    Raises:
        ModelError: naming the first tensor with NaN or infinity.
    """
    for key, tensor in tensors:
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        low, high = torch.aminmax(tensor)  # one pass without a copy; NaN anywhere makes both NaN
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            what = "NaN" if bool(torch.isnan(low)) else "infinity"
            raise ModelError(f"{title} holds {what} in {shown(key)}: get the file again, or choose another model")


def _times(shape: Iterable[int]) -> str:
    """A shape for people: 320×4×3×3."""
    return "×".join(map(str, shape)) or "a number"
