"""Low-rank adaptation by peft (Hu et al. 2021): matrices beside the model's own learn, which stay as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from runner.errors import ModelError
from runner.methods.groups import Group, groups, learning
from runner.models.trainable import Trainable
from runner.shown import shown

WEIGHTS = "pytorch_lora_weights.safetensors"
KOHYA = "kohya_lora_weights.safetensors"
ATTENTION = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0"],
    "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"],
    "text_encoder_2": ["q_proj", "k_proj", "v_proj", "out_proj"],
}
"""The projections of attention in each part, which diffusers' own scripts adapt."""


def attach(family: Trainable, values: dict[str, Any]) -> list[Group]:
    """See `Method.attach`; the matrices are kept in fp32 and follow from the recipe's seed.

    Raises:
        ModelError: as `targets_of`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(values["seed"])
        mark(family.parts, values)
    cast_training_params(list(family.parts.values()))
    return groups(family, values["training"])


def mark(parts: Mapping[str, nn.Module], values: dict[str, Any]) -> int:
    """See `Method.mark`; the parts have the matrices afterwards."""
    adapter = values["adapter"]
    for part in parts.values():
        part.requires_grad_(False)
    for name, targets in targets_of(parts, adapter).items():
        adapted: Any = parts[name]
        adapted.add_adapter(config(adapter, targets))
    return learning(parts.values())


def config(adapter: dict[str, Any], targets: list[str]) -> LoraConfig:
    """peft's configuration of a settled `adapter` section."""
    return LoraConfig(
        r=adapter["rank"],
        lora_alpha=adapter["alpha"],
        lora_dropout=adapter["dropout"],
        target_modules=targets,
        init_lora_weights="gaussian",
        use_dora=adapter["use_dora"],
    )


def targets_of(parts: Mapping[str, nn.Module], adapter: dict[str, Any]) -> dict[str, list[str]]:
    """The ends of the names of the modules that are adapted, by part.

    Raises:
        ModelError: a target is the end of no module's name in any part, or a part has none; the message names the ends
            of linear layers' names that are there.
    """
    names = {part: [key for key, _ in parts[part].named_modules()] for part in adapter["parts"]}
    wanted = adapter["target_modules"]
    found = {part: [target for target in wanted or ATTENTION[part] if _matched(target, names[part])] for part in names}
    for target in wanted or ():
        if not any(target in targets for targets in found.values()):
            raise _unmatched(f"0 modules of the {' and the '.join(names)} match {shown(target)!r}", parts, adapter)
    for part, targets in found.items():
        if not targets:
            raise _unmatched(f"0 modules of the {part} match any of them", parts, adapter)
    return found


def _matched(target: str, names: list[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in names)


def _unmatched(what: str, parts: Mapping[str, nn.Module], adapter: dict[str, Any]) -> ModelError:
    modules = [pair for part in adapter["parts"] for pair in parts[part].named_modules()]
    ends = {key.rpartition(".")[2] for key, module in modules if isinstance(module, nn.Linear)}
    known = ", ".join(sorted(end for end in ends if not end.isdigit()))
    return ModelError(f"adapter.target_modules: {what}; candidates: {known}")


def save(family: Trainable, values: dict[str, Any], folder: Path) -> None:
    """See `Method.save`: diffusers' file, and beside it kohya's where `output.formats` asks for it."""
    parts = {name: family.parts[name] for name in values["adapter"]["parts"]}
    states = {name: get_peft_model_state_dict(part) for name, part in parts.items()}
    several = len(family.TEXT_PARTS) > 1
    folder.mkdir(parents=True)
    layers = {f"{name}.{key}": tensor for name in states for key, tensor in _as_published(name, states[name])}
    facts = {f"{name}.{key}": value for name, part in parts.items() for key, value in _metadata(part).items()}
    told = json.dumps(facts, indent=2, sort_keys=True)  # as StableDiffusionPipeline.save_lora_weights writes it
    save_file(layers, folder / WEIGHTS, metadata={LORA_ADAPTER_METADATA_KEY: told})
    if "kohya" in values["output"]["formats"]:
        alpha = float(values["adapter"]["alpha"])
        tensors: dict[str, Tensor] = {}
        for name, state in states.items():
            tensors |= _kohya(_PREFIXES[several][name], dict(_as_published(name, state)), alpha)
        save_file(tensors, folder / KOHYA, metadata={"format": "pt"})


def _metadata(part: Any) -> dict[str, Any]:
    """peft's configuration of a part's matrices, for drawing: no dropout, and no place on this machine."""
    own: dict[str, Any] = part.peft_config["default"].to_dict()
    ordered = sorted(own["target_modules"])  # a set, whose order is another in each process
    return own | {
        "target_modules": ordered,
        "lora_dropout": 0.0,
        "base_model_name_or_path": None,
        "inference_mode": True,
    }


_PREFIXES = {
    False: {"unet": "lora_unet", "text_encoder": "lora_te"},
    True: {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}
"""kohya's names of the parts, with one text encoder and with two."""


def _as_published(name: str, state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A part's matrices by the names that published files have: those of transformers 4 for text encoders."""
    inner = "text_model." if name.startswith("text_encoder") and not next(iter(state)).startswith("text_model.") else ""
    for key, tensor in state.items():
        # The loader of text encoders finds DoRA's vectors by this ending only.
        end = ".weight" if name.startswith("text_encoder") and key.endswith("lora_magnitude_vector") else ""
        yield f"{inner}{key}{end}", tensor.detach().cpu().contiguous()


def _kohya(prefix: str, state: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """A part's matrices as kohya's sd-scripts name them: modules joined by '_', each with its alpha."""
    names = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
    names["lora_magnitude_vector"] = "dora_scale"
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        end = next(end for end in names if key.endswith(end))
        module = f"{prefix}_{key.removesuffix(end).rstrip('.').replace('.', '_')}"
        found[f"{module}.{names[end]}"] = tensor
        found[f"{module}.alpha"] = torch.tensor(alpha)
    return found
