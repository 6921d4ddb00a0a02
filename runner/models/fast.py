"""A model laid out and compiled for speed: the same weights, the same names, other last bits."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from runner.errors import EnvironmentFault
from runner.models.family import Family
from runner.models.group_norm import by_channel
from runner.shown import shown

KEYS = ("channels_last", "compile", "eager_attention", "upcast_attention", "allow_tf32")  # of `compute`

_REGIONS = (
    *("ResnetBlock2D", "ResnetBlockCondNorm2D", "Attention", "GroupNorm", "BasicTransformerBlock"),  # of UNets and VAEs
    *("JointTransformerBlock", "FluxTransformerBlock", "FluxSingleTransformerBlock"),
)
"""diffusers' classes whose modules are compiled: blocks that a model repeats share their code, which a whole model does
not; the convolutions between them are none the faster for it. (Of a whole UNet with two upsamplings torch 2.13 loses
gradients, besides.)
"""

_LIMIT = 4096  # of codes: each kind of block in each size of picture has its own
_DENOISERS = ("unet", "transformer")
_TRITON = (7, 0)  # the oldest GPUs that triton makes code for, by torch._dynamo.device_interface
_COMPILER = "clang++" if sys.platform == "darwin" else "g++"  # what torch takes where CXX names none


def named(compute: dict[str, Any]) -> list[str]:
    """Those of KEYS that are on, and mean something on the device."""
    return [key for key in KEYS if compute[key] and (key != "allow_tf32" or compute["device"] == "cuda")]


def lay_out(family: Family, compute: dict[str, Any]) -> None:
    """The memory format and the kinds of attention that `compute` asks for.

    With channels_last, weights of convolutions have the channels of a pixel side by side, and with them what they
    compute.
    """
    if compute["channels_last"]:
        for part in family.parts.values():
            if any(p.ndim == 4 for p in part.parameters()):
                part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compute["eager_attention"] or compute["upcast_attention"]:
        from runner.models import attention

        attention.lay_out(_working(family), compute)


def lacking(device: str) -> str | None:
    """What compiling for a device needs and this machine has not; None where nothing lacks."""
    if device not in ("cpu", "cuda"):
        return "a CPU or an NVIDIA GPU"
    if device == "cuda" and find_spec("triton") is None:
        return "the package triton"
    if device == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability() < _TRITON:
        return f"a GPU of compute capability {'.'.join(map(str, _TRITON))} or newer"
    if shutil.which(os.environ.get("CXX", _COMPILER)) is None:
        return f"a C++ compiler ({_COMPILER})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"Python's headers (python{sys.version_info.major}.{sys.version_info.minor}-dev)"
    return None


class Compiled:
    """The blocks of a model that work in every step, compiled in place; nothing where `on` is false.

    Drawing and validation come in other shapes, for which code would have to be made anew: they are done `eagerly`.

    Args:
        family: the model, with what learns attached.
        folder: where code is kept from one run to the next.
    """

    def __init__(self, family: Family, on: bool, folder: Path) -> None:
        self._modules = list(_regions(_working(family))) if on else []
        self.on = bool(self._modules)
        self._folder = folder

    @contextmanager
    def ready(self) -> Iterator[None]:
        """What is called inside is compiled when it is first called.

        Raises:
            EnvironmentFault: it cannot be compiled here.
        """
        if not self._modules:
            yield
            return
        from torch._dynamo import config, reset
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            # Each shape has its own code, so that what a step computes does not depend on the steps before it.
            limits = config.patch(recompile_limit=_LIMIT, accumulated_recompile_limit=_LIMIT)
            with _kept_in(self._folder), by_channel(self._modules), limits:
                for module in self._modules:
                    module.compile(dynamic=False)
                yield
        except BackendCompilerFailed as error:
            raise EnvironmentFault(
                f"the model cannot be compiled here ({_first_line(error)}): write compute.compile: false"
            ) from error
        finally:
            _set(self._modules, [None] * len(self._modules))
            reset()

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        """What is called inside is not compiled."""
        code = [module._compiled_call_impl for module in self._modules]
        _set(self._modules, [None] * len(code))
        try:
            yield
        finally:
            _set(self._modules, code)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """torch's compiler keeps code, and the headers that it has read once, in a folder."""
    from torch._inductor import codecache, config

    places = {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    headers = folder / "headers"
    with (
        patch.dict(os.environ, places),
        patch.object(codecache, "_HEADER_DIR", str(headers), create=True),
        patch.object(codecache, "_HEADER_LOCK_DIR", str(headers / "locks"), create=True),
        config.patch(cpp_cache_precompile_headers=shutil.which("openssl") is not None),  # it makes their checksum
    ):
        yield


def _working(family: Family) -> nn.Module:
    """What takes long of what a step calls: the denoiser, or a VAE alone."""
    parts: dict[str, Any] = family.parts
    part: nn.Module = next(parts[name] for name in (*_DENOISERS, "vae") if name in parts)
    return part


def _regions(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of _REGIONS in it."""
    for child in module.children():
        if type(child).__name__ in _REGIONS:
            yield child
        else:
            yield from _regions(child)


def _set(modules: Sequence[nn.Module], code: Sequence[Any]) -> None:
    for module, one in zip(modules, code, strict=True):
        module._compiled_call_impl = one


def _first_line(error: Exception) -> str:
    return shown(str(getattr(error, "inner_exception", error)).strip().partition("\n")[0])
