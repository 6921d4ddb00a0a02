"""Devices, memory, disks and the terminal."""

import locale
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from runner.doctor.check import Check
from runner.tally import gibibytes

_GIB = 2**30
_LITTLE_MEMORY, _LITTLE_DISK, _NO_DISK = 2 * _GIB, 5 * _GIB, _GIB // 10


def devices(found: dict[str, Any] | None) -> list[Check]:
    """What computes; `found` is what torch says (see `probe`), None where torch could not be asked."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if found is None:
        return [
            Check("processor", "ok", f"{cores} cores"),
            Check("GPU", "warn", "unknown: torch cannot be asked", "mend torch"),
        ]
    bf16 = "bf16 instructions" if found["bf16"] else "no bf16 instructions: training computes in fp32"
    return [Check("processor", "ok", f"{cores} cores, {found['threads']} torch threads, {bf16}"), *_gpus(found)]


def _gpus(found: dict[str, Any]) -> list[Check]:
    if found["gpus"]:
        return [
            Check("GPU", "ok", f"{gpu['name']}, {gibibytes(gpu['total'])}, {gibibytes(gpu['free'])} free")
            for gpu in found["gpus"]
        ]
    if found["mps"]:
        return [Check("GPU", "ok", "Apple (mps)")]
    if found["warnings"]:  # torch says here that the driver is too old, and how old
        said = " ".join(found["warnings"])
        return [Check("GPU", "warn", f"not usable: {said}", "update the GPU's driver, or install a torch built for it")]
    if not found["built_for"] and shutil.which("nvidia-smi"):
        mend = "install torch for CUDA: https://pytorch.org/get-started/locally"
        return [Check("GPU", "warn", "an NVIDIA driver is here, but this torch is built for the CPU only", mend)]
    return [Check("GPU", "ok", "none: runs compute on the CPU")]


def memory() -> Check:
    """Memory of the machine, or of the container where that is less."""
    import psutil

    machine = psutil.virtual_memory()
    limit = _container_limit()
    total = min(machine.total, limit or machine.total)
    available = min(machine.available, total)
    found = f"{gibibytes(total)}, {gibibytes(available)} available"
    if available < _LITTLE_MEMORY:
        return Check("memory", "warn", found, "close other programs, or take small resolutions and batches")
    return Check("memory", "ok", found)


def _container_limit() -> int | None:
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            return int(file.read_text())
        except (OSError, ValueError):
            continue
    return None


def disk(name: str, folder: Path, option: str) -> Check:
    """Whether `folder`, or the nearest one above that exists, takes files, and how much fits."""
    try:
        place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror or error}"
        return Check(name, "fail", found, f"mend that, or choose another folder with {option}")
    found = f"{gibibytes(free)} free at {folder}"
    if free < _LITTLE_DISK:
        return Check(
            name,
            "fail" if free < _NO_DISK else "warn",
            found,
            f"free some space, or choose another folder with {option}",
        )
    return Check(name, "ok", found)


def terminal() -> Check:
    """Whether the terminal can show every letter."""
    encoding = getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)
    kind = "terminal" if sys.stdout is not None and sys.stdout.isatty() else "no terminal"
    if not encoding.lower().replace("-", "").startswith("utf"):
        found = f"{kind}, {encoding}: other letters are shown as \\u…"
        return Check("terminal", "warn", found, "set PYTHONUTF8=1, or a UTF-8 locale")
    return Check("terminal", "ok", f"{kind}, {encoding}")
