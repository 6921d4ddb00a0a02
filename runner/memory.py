"""Memory: how it is kept and freed, and where it is used up one sentence that names the keys to change."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.errors import EnvironmentFault

_MACHINE_WORDS = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
_WORDS = (*_MACHINE_WORDS, "out of memory", "STATUS_ALLOC_FAILED")  # the last of cuBLAS and cuDNN
_PERHAPS = ("CUBLAS_STATUS_NOT_INITIALIZED", "unable to find an engine")  # the same, where they have no room to begin
_NEARLY_NONE = 2**29  # bytes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 2**25  # bytes: glibc takes no larger threshold

# What may change in a run that goes on.
_SAME_RUN = (
    "compute.",
    "sampling.",
    *(f"training.{key}" for key in ("gradient_checkpointing", "batch_size", "on_oom")),
)


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that the device's memory or the machine's is used up."""
    if isinstance(error, RuntimeError):
        words = (*_WORDS, *(_PERHAPS if _device_is_full() else ()))
        return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
    return isinstance(error, MemoryError)


def _device_is_full() -> bool:
    """Whether a GPU that this process uses has next to no room left."""
    return torch.cuda.is_initialized() and torch.cuda.mem_get_info()[0] < _NEARLY_NONE


def keep_memory() -> None:
    """What tensors on the CPU free stays with the process, for those that come next (glibc; nothing elsewhere).

    By itself glibc hands large blocks back at once, so that each step asks the system for the same memory again and
    takes a page fault for every 4 KiB of it.
    """
    if tune := _of_libc("mallopt"):
        tune(_MMAP_THRESHOLD, _LARGEST)  # smaller blocks are no mappings of their own, which end when they are freed
        tune(_TRIM_THRESHOLD, -1)  # the heap does not shrink by itself


def free_memory() -> None:
    """Hands memory that nothing refers to any more back to the device and to the machine."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if trim := _of_libc("malloc_trim"):
        trim(0)


def _of_libc(name: str) -> Any:
    """A function of glibc, where the C library is that one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


@contextmanager
def guarded(values: dict[str, Any], changes: Iterable[str]) -> Iterator[None]:
    """Turns running out of memory into a sentence.

    Args:
        values: the settled recipe.
        changes: what to write on the command line, the most effective first.

    Raises:
        EnvironmentFault: the device or the machine has no memory left; what was made before is kept.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise EnvironmentFault(_sentence(_place(error, values), list(changes))) from error


def _place(error: Exception, values: dict[str, Any]) -> str:
    device = values["compute"]["device"]
    of_machine = isinstance(error, MemoryError) or any(word in str(error) for word in _MACHINE_WORDS)
    return "the machine" if device == "cpu" or of_machine else f"the device ({device})"


def _sentence(where: str, changes: list[str]) -> str:
    if not changes:
        return f"{where} is out of memory, and no key of the recipe saves any: end other programs, or take a larger one"
    said = f"{where} is out of memory; what was made is kept. Change, the most effective first: {', '.join(changes)}"
    going = [change for change in changes if change.startswith(_SAME_RUN)]
    by = f" by {' or '.join(going)}" if going != changes else ""
    return f"{said}; with --allow-changes this run goes on{by}" if going else said


def stage_mends(values: dict[str, Any], stage: str) -> Iterator[str]:
    """What to write on the command line so that a stage, as a run announces it, takes less memory."""
    if stage in ("Prior", "Training"):
        yield from training_mends(values)
    elif stage in ("Sampling", "Refining"):
        yield from drawing_mends(values)
    elif stage == "Model" and values["model"]["type"] == "pretrained" and values["compute"]["dtype"] == "fp32":
        yield "compute.dtype=bf16"


def training_mends(values: dict[str, Any]) -> Iterator[str]:
    """What to write on the command line so that training takes less memory, the most effective first."""
    training, compute = values["training"], values["compute"]
    if not training["gradient_checkpointing"]:
        yield "training.gradient_checkpointing=true"
    if training["batch_size"] > 1:
        size, accumulation = training["batch_size"], training["gradient_accumulation_steps"]
        less = max(part for part in range(1, size) if size % part == 0)
        yield f"training.batch_size={less} training.gradient_accumulation_steps={accumulation * size // less}"
        if training["on_oom"] == "stop" and compute["processes"] == 1:
            yield "training.on_oom=shrink"
    if values["model"]["type"] == "pretrained" and "adapter" not in values:
        yield "adapter.type=lora"
    if compute["mixed_precision"] == "fp32" and compute["device"] != "mps":
        yield "compute.mixed_precision=bf16"
    if training["optimizer"]["type"] in ("adam", "adamw", "prodigy") and compute["device"] == "cuda":
        yield "training.optimizer.type=adamw_8bit"
    yield f"data.resolution={max(8, values['data']['resolution'] // 2 // 8 * 8)}"


def drawing_mends(values: dict[str, Any]) -> Iterator[str]:
    """What to write on the command line so that drawing takes less memory, the most effective first."""
    sampling, compute = values["sampling"], values["compute"]
    if sampling["batch_size"] > 1:
        yield f"sampling.batch_size={sampling['batch_size'] // 2}"
    if values["model"]["type"] != "pretrained":
        return
    if compute["device"] != "cpu" and compute["offload"] != "sequential":
        yield f"compute.offload={'model' if compute['offload'] == 'none' else 'sequential'}"
    if compute["dtype"] == "fp32":
        yield f"compute.dtype={'bf16' if compute['device'] == 'cpu' else 'fp16'}"
    if "height" not in sampling:
        return
    if not compute["vae_tiling"]:
        yield "compute.vae_tiling=true"
    if sampling["batch_size"] > 1 and not compute["vae_slicing"]:
        yield "compute.vae_slicing=true"
    if not compute["attention_slicing"]:
        yield "compute.attention_slicing=true"
    if sampling["height"] and sampling["width"]:
        height, width = (max(8, side // 2 // 8 * 8) for side in (sampling["height"], sampling["width"]))
        yield f"sampling.height={height} sampling.width={width}"
