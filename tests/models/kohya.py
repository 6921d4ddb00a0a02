"""A LoRA as kohya's sd-scripts write it, made from one in diffusers' layout."""

import torch
from safetensors.torch import load_file, save_file

_PARTS = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def from_diffusers(source, target, *, alpha, sdxl=False):
    """Saves the LoRA at `source` in kohya's layout, with `alpha` beside each layer.

    kohya multiplies a layer by alpha / rank, a LoRA of diffusers without alphas by 1: the upper matrices are divided
    by alpha / rank, so that both mean the same.
    """
    made = {}
    for key, tensor in load_file(source).items():
        part, _, path = key.partition(".")
        module, _, end = path.rpartition(".lora_")
        if part == "text_encoder" and sdxl:
            prefix = "lora_te1"
        else:
            prefix = _PARTS[part]
        if part.startswith("text") and not module.startswith("text_model."):
            module = f"text_model.{module}"  # the name of the text encoder's body before transformers 5
        name = f"{prefix}_{module.replace('.', '_')}"
        if end == "A.weight":
            made[f"{name}.lora_down.weight"] = tensor
            made[f"{name}.alpha"] = torch.tensor(float(alpha))
        else:
            rank = tensor.shape[1]
            made[f"{name}.lora_up.weight"] = tensor * (rank / alpha)
    save_file(made, target)
