"""A model laid out and compiled for speed: the same weights, the same names, other last bits."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn

from runner.errors import EnvironmentFault
from runner.models.family import Family
from runner.shown import shown

_SHAPES = 256  # of batches, each with code of its own: pictures of several sizes
_DENOISERS = ("unet", "transformer")
_COMPILER = "clang++" if sys.platform == "darwin" else "g++"  # what torch takes where CXX names none


def lay_out(family: Family) -> None:
    """Weights of convolutions get the channels of a pixel side by side, and with them what they compute."""
    for part in family.parts.values():
        if any(p.ndim == 4 for p in part.parameters()):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def lacking(device: str) -> str | None:
    """What compiling for a device needs and this machine has not; None where nothing lacks."""
    if device not in ("cpu", "cuda"):
        return "a CPU or an NVIDIA GPU"
    if device == "cuda" and find_spec("triton") is None:
        return "the package triton"
    if shutil.which(os.environ.get("CXX", _COMPILER)) is None:
        return f"a C++ compiler ({_COMPILER})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"Python's headers (python{sys.version_info.major}.{sys.version_info.minor}-dev)"
    return None


class Compiled:
    """The modules of a model that work in every step, compiled in place; nothing where `on` is false.

    Drawing and validation come in other shapes, for which code would have to be made anew: they are done `eagerly`.

    Args:
        family: the model, with what learns attached.
        folder: where code is kept from one run to the next.
    """

    def __init__(self, family: Family, on: bool, folder: Path) -> None:
        self.on = on
        self._modules = _modules(family) if on else []
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
            with _kept_in(self._folder), config.patch(recompile_limit=_SHAPES), ExitStack() as stack:
                for module in self._modules:
                    stack.enter_context(_upsampling_left_out(module))
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
def _upsampling_left_out(module: nn.Module) -> Iterator[None]:
    """Upsampling in a module is not compiled: of two of them the code of torch 2.13 loses the gradient."""
    parts = [part for part in module.modules() if isinstance(part, Upsample2D)]
    before = [vars(part).get("forward") for part in parts]  # offloading has one of its own there
    for part in parts:
        part.forward = torch.compiler.disable(part.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part, forward in zip(parts, before, strict=True):
            del part.forward
            if forward is not None:
                part.forward = forward


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


def _modules(family: Family) -> list[nn.Module]:
    """What a step calls: the denoiser, or of a VAE alone its two halves."""
    parts: dict[str, Any] = family.parts
    denoiser = next((parts[name] for name in _DENOISERS if name in parts), None)
    return [denoiser] if denoiser is not None else [parts["vae"].encoder, parts["vae"].decoder]


def _set(modules: Sequence[nn.Module], code: Sequence[Any]) -> None:
    for module, one in zip(modules, code, strict=True):
        module._compiled_call_impl = one


def _first_line(error: Exception) -> str:
    return shown(str(getattr(error, "inner_exception", error)).strip().partition("\n")[0])
