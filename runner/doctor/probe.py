"""Imports packages in a process of its own and says how that went: a broken one may raise, hang or crash.

`python -m runner.doctor.probe diffusers:UNet2DModel …` prints one JSON object a line: what is tried, then how it went.
"""

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from runner.processor import has_bf16

_PATIENCE_S = 180


def probe(targets: list[str]) -> dict[str, Any]:
    """Import each of `targets` ("package" or "package:Name") in a fresh process.

    Returns a mapping of each target to "" or to what went wrong, and of "device" to what torch says about GPUs.
    """
    if not targets:
        return {}
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "runner.doctor.probe", *targets]
    try:
        answer = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=_PATIENCE_S
        )
        output, ended = answer.stdout, f"the import ends the process (status {answer.returncode})"
    except subprocess.TimeoutExpired as slow:
        output = slow.stdout.decode(errors="replace") if isinstance(slow.stdout, bytes) else slow.stdout or ""
        ended = f"the import takes more than {_PATIENCE_S} seconds"
    except OSError as error:
        output, ended = "", f"no second Python process can be started ({error.strerror})"
    found: dict[str, Any] = {}
    for line in output.splitlines():
        found.update(json.loads(line))
    return {target: found[target] if found.get(target) is not None else ended for target in targets} | {
        "device": found.get("device")
    }


def _main(targets: list[str]) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the packages print must not stand between the answers
    warnings.simplefilter("ignore")
    for target in targets:
        print(json.dumps({target: None}), file=out, flush=True)
        print(json.dumps({target: _imported(target)}), file=out, flush=True)
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in targets:
        print(json.dumps({"device": _device(torch)}), file=out, flush=True)


def _imported(target: str) -> str:
    """The first cause of a failed import, or nothing."""
    module, _, name = target.partition(":")
    try:
        found = importlib.import_module(module)
        if name:
            getattr(found, name)
    except BaseException as error:
        cause: BaseException = error
        while before := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
            cause = before
        return f"{type(cause).__name__}: {cause}"
    return ""


def _device(torch: Any) -> dict[str, Any]:
    """What torch says about the machine; `bf16` is the processor's; `gpus` hold name, bytes in all and bytes free."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        gpus = []
        for index in range(torch.cuda.device_count() if available else 0):
            free, total = torch.cuda.mem_get_info(index)
            gpus.append({"name": torch.cuda.get_device_name(index), "total": total, "free": free})
    return {
        "built_for": torch.version.cuda or torch.version.hip,
        "gpus": gpus,
        "mps": torch.backends.mps.is_available(),
        "bf16": has_bf16(),
        "threads": torch.get_num_threads(),
        "warnings": [str(warning.message) for warning in caught],
    }


if __name__ == "__main__":
    _main(sys.argv[1:])
