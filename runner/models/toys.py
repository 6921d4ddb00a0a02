"""Tiny pipelines of the real classes with random weights: they stand in for pretrained models in rehearsals.

Each draws in well under a second, at 64 pixels a side. The same seed makes the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PNDMScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPTokenizer, T5EncoderModel

from runner.models import toy_parts as parts
from runner.models.quiet import quiet

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_NO_QUANT = {"use_quant_conv": False, "use_post_quant_conv": False}
_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
_CLIP = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]  # as kohya's scripts choose them

quiet()


def stable_diffusion(
    folder: Path,
    *,
    seed: int = 0,
    in_channels: int = 4,
    safety_checker: float | None = None,
    tokenizer: CLIPTokenizer | None = None,
    **scheduler: Any,
) -> None:
    """Saves Stable Diffusion 1.x or 2.x.

    Args:
        folder: where to.
        seed: of the weights.
        in_channels: 9 for a model made for inpainting.
        safety_checker: the threshold of its safety checker (2 withholds nothing, -2 all); None for a model without.
        tokenizer: a small one by default.
        scheduler: options of its PNDM scheduler, such as prediction_type="v_prediction".
    """
    tokenizer = tokenizer or parts.clip_tokenizer()
    checked = safety_checker is not None
    pipeline = StableDiffusionInpaintPipeline if in_channels == 9 else StableDiffusionPipeline
    pipeline(
        vae=parts.vae(seed + 1),
        text_encoder=parts.clip(seed + 2, tokenizer),
        tokenizer=tokenizer,
        unet=parts.unet(seed, in_channels=in_channels, cross_attention_dim=parts.WIDTH),
        scheduler=PNDMScheduler(**{**_NOISE, "skip_prk_steps": True, "steps_offset": 1, **scheduler}),
        safety_checker=parts.safety_checker(seed + 3, safety_checker) if checked else None,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32) if checked else None,
        requires_safety_checker=checked,
    ).save_pretrained(folder)


def stable_diffusion_xl(
    folder: Path, *, seed: int = 0, in_channels: int = 4, tokenizer: CLIPTokenizer | None = None
) -> None:
    """Saves SDXL; `in_channels` is 9 for a model made for inpainting."""
    tokenizer = tokenizer or parts.clip_tokenizer()
    pipeline = StableDiffusionXLInpaintPipeline if in_channels == 9 else StableDiffusionXLPipeline
    pipeline(
        vae=parts.vae(seed + 1),
        text_encoder=parts.clip(seed + 2, tokenizer),
        text_encoder_2=parts.clip_projected(seed + 3, tokenizer, parts.WIDTH_2),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=parts.sdxl_unet(seed, parts.WIDTH + parts.WIDTH_2, 6, in_channels=in_channels),
        scheduler=EulerDiscreteScheduler(**_NOISE, timestep_spacing="leading", steps_offset=1),
    ).save_pretrained(folder)


def sdxl_refiner(folder: Path, *, seed: int = 0, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves an SDXL refiner, whose VAE equals the one of `stable_diffusion_xl` with the same seed."""
    tokenizer = tokenizer or parts.clip_tokenizer()
    StableDiffusionXLImg2ImgPipeline(
        vae=parts.vae(seed + 1),
        text_encoder=None,
        text_encoder_2=parts.clip_projected(seed + 3, tokenizer, parts.WIDTH_2),
        tokenizer=None,
        tokenizer_2=tokenizer,
        unet=parts.sdxl_unet(seed + 4, parts.WIDTH_2, 5),
        scheduler=EulerDiscreteScheduler(**_NOISE, timestep_spacing="leading", steps_offset=1),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    ).save_pretrained(folder)


def stable_diffusion_3(folder: Path, *, seed: int = 0, t5: bool = True, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves Stable Diffusion 3, with its third text encoder or without."""
    tokenizer, third = tokenizer or parts.clip_tokenizer(), parts.t5_tokenizer() if t5 else None
    StableDiffusion3Pipeline(
        vae=parts.vae(seed + 1, 16, shift_factor=0.06, **_NO_QUANT),
        text_encoder=parts.clip_projected(seed + 2, tokenizer, parts.WIDTH),
        text_encoder_2=parts.clip_projected(seed + 3, tokenizer, parts.WIDTH_2),
        text_encoder_3=parts.t5(seed + 4, third) if t5 else None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=third,
        transformer=parts.sd3_transformer(seed),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(folder)


def flux(folder: Path, *, seed: int = 0, guidance_embeds: bool = True, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves Flux: with `guidance_embeds` as FLUX.1-dev, without as FLUX.1-schnell."""
    tokenizer, second = tokenizer or parts.clip_tokenizer(), parts.t5_tokenizer()
    FluxPipeline(
        vae=parts.vae(seed + 1, 16, shift_factor=0.1, **_NO_QUANT),
        text_encoder=parts.clip(seed + 2, tokenizer),
        text_encoder_2=parts.t5(seed + 3, second),
        tokenizer=tokenizer,
        tokenizer_2=second,
        transformer=parts.flux_transformer(seed, guidance_embeds),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guidance_embeds),
    ).save_pretrained(folder)


def vae(folder: Path, *, family: str = "stable_diffusion", seed: int = 7) -> None:
    """Saves another VAE for a toy of this family."""
    shifts = {"stable_diffusion_3": 0.06, "flux": 0.1}
    wide = {"latent_channels": 16, "shift_factor": shifts[family], **_NO_QUANT} if family in shifts else {}
    parts.vae(seed, **wide).save_pretrained(folder)


def lora(path: Path, pipeline: Path, *, rank: int = 4, seed: int = 9) -> None:
    """Saves a LoRA in diffusers' layout for the toy in the folder `pipeline`: of its denoiser and its CLIP encoders."""
    base = DiffusionPipeline.from_pretrained(pipeline)
    attention = {"unet": _ATTENTION, "transformer": _ATTENTION, "text_encoder": _CLIP, "text_encoder_2": _CLIP}
    layers = {}
    for name, targets in attention.items():
        part = getattr(base, name, None)
        if part is None or isinstance(part, T5EncoderModel):
            continue
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights=False)
        adapted = parts.seeded(inject_adapter_in_model)(seed, config, part)
        layers[f"{name}_lora_layers"] = get_peft_model_state_dict(adapted)
    base.save_lora_weights(path.parent, weight_name=path.name, **layers)


def embedding(path: Path, *, family: str = "stable_diffusion", vectors: int = 2, seed: int = 8) -> None:
    """Saves an embedding of so many vectors, laid out as EasyNegative is, or, for SDXL, with a table per encoder."""
    noise = torch.Generator().manual_seed(seed)
    widths = {"emb_params": parts.WIDTH_2 if family == "sdxl_refiner" else parts.WIDTH}
    if family == "stable_diffusion_xl":
        widths = {"clip_l": parts.WIDTH, "clip_g": parts.WIDTH_2}
    save_file({key: torch.randn(vectors, width, generator=noise) for key, width in widths.items()}, path)
