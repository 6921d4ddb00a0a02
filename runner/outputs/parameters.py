"""The text that web UIs write into a PNG's `parameters` chunk and read back.

The format: AUTOMATIC1111's stable-diffusion-webui, create_infotext (modules/processing.py) writes it and
parse_generation_parameters (modules/infotext_utils.py) reads it: the prompt, a line that begins with
"Negative prompt:", and a last line of "Key: value" pairs, where a value with a comma or a colon is a JSON string.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_KEYS = re.compile(r"\b(Negative prompt|Steps)\s*:", re.IGNORECASE)
_NAMES = {
    "EulerDiscrete": "Euler",
    "EulerAncestralDiscrete": "Euler a",
    "FlowMatchEulerDiscrete": "Euler",
    "HeunDiscrete": "Heun",
    "LMSDiscrete": "LMS",
    "PNDM": "PLMS",
    "KDPM2Discrete": "DPM2",
    "KDPM2AncestralDiscrete": "DPM2 a",
    "DPMSolverMultistep": "DPM++ 2M",
    "DPMSolverSinglestep": "DPM++ 2S",
    "UniPCMultistep": "UniPC",
    "DEISMultistep": "DEIS",
}
_SPACINGS = {"use_karras_sigmas": "Karras", "use_exponential_sigmas": "Exponential", "use_beta_sigmas": "Beta"}


def parameters(
    prompt: str,
    sampling: Mapping[str, Any],
    *,
    model: str,
    seed: int,
    size: tuple[int, int],
    loras: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What web UIs need to draw a picture again.

    Args:
        prompt: of this picture. Its lines become one, and a space stands before the colon of "Steps:" and "Negative
            prompt:" in it, which leaves CLIP's tokens as they are and keeps it from posing as another field.
        sampling: the settled `sampling` section, with one value for each key of its matrix.
        model: a hub id or a path; its last name is written.
        size: width and height of the picture.
        loras: those of the model, which are named behind the prompt, `<lora:NAME:WEIGHT>`, as web UIs call for them.
    """
    refiner = sampling.get("refiner")
    pairs = {
        "Steps": sampling.get("num_inference_steps"),
        "Sampler": sampler(sampling["scheduler"]) if sampling.get("scheduler") else None,
        "CFG scale": sampling.get("guidance_scale"),
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": _last_name(model),
        "Denoising strength": sampling.get("strength") if sampling.get("init_image") else None,
        "Clip skip": sampling["clip_skip"] + 1 if sampling.get("clip_skip") else None,  # diffusers counts from 0
        "RNG": "CPU",
        "Eta DDIM": sampling.get("eta") or None,
        "Refiner": _last_name(refiner["id"]) if refiner else None,
        "Refiner switch at": refiner["high_noise_frac"] if refiner else None,
    }
    negative = _line(sampling.get("negative_prompt") or "")
    words = " ".join(filter(None, [_line(prompt), *map(_lora, loras)]))
    lines = [words] if words else []
    lines += [f"Negative prompt: {negative}"] if negative else []
    return "\n".join(
        [*lines, ", ".join(f"{key}: {_value(value)}" for key, value in pairs.items() if value is not None)]
    )


def sampler(scheduler: Mapping[str, Any]) -> str:
    """A `scheduler` section under the name that web UIs have for it; a type they have none for keeps its own."""
    kind = scheduler["type"]
    name = _NAMES.get(kind, kind)
    if scheduler.get("algorithm_type") == "sde-dpmsolver++":
        name = "DPM++ SDE" if kind == "DPMSolverSinglestep" else "DPM++ 2M SDE"
        if scheduler.get("solver_type") == "heun":
            name += " Heun"
    if kind == "DPMSolverMultistep" and scheduler.get("solver_order") == 3:
        name = name.replace("2M", "3M").removesuffix(" Heun")
    return " ".join([name, *(word for key, word in _SPACINGS.items() if scheduler.get(key))])


def _lora(entry: Mapping[str, Any]) -> str:
    name = _last_name(entry.get("file") or entry["id"])
    return f"<lora:{re.sub('[<:>]', '_', name)}:{entry['weight']:g}>"


def _last_name(model: str) -> str:
    """'gsdf/Counterfeit-V2.5' is 'Counterfeit-V2.5', '/models/cat.safetensors' is 'cat'."""
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    return _line(name.removesuffix(".safetensors").removesuffix(".ckpt")) or "model"


def _line(text: str) -> str:
    """`text` as one line that no reader takes for another field."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in whole)
    return _KEYS.sub(r"\1 :", " ".join(visible.split()))


def _value(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text
