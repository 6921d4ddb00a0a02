"""Tiny pipelines of the real classes with random weights: they stand in for pretrained models in rehearsals.

Each draws in well under a second, at 64 pixels a side. The same seed makes the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WIDTH, WIDTH_2, WIDTH_T5 = 32, 48, 96
"""Widths of the first and the second CLIP encoder and of T5."""

WORDS = (
    *("a", "an", "the", "of", "in", "on", "with", "and", "red", "blue", "green", "yellow"),
    *("flower", "house", "cat", "dog", "tree", "sky", "best", "quality", "masterpiece"),
)
    "a an the of in on with and red blue green yellow flower house cat dog tree sky best quality masterpiece".split()
)
_SD_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE with whole tokens for a few words; any other text becomes one token a character."""
    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        left, *rest = [*word[:-1], f"{word[-1]}</w>"]
        for right in rest:
            merges.append(f"{left} {right}")
            left += right
            names.append(left)
    names = [*dict.fromkeys(names), "<|startoftext|>", "<|endoftext|>"]
    vocab = {name: i for i, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m.split()) for m in dict.fromkeys(merges)], model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    """A Unigram model of printable ASCII with whole tokens for a few words."""
    pieces = [*(f"▁{word}" for word in WORDS), "▁", *map(chr, range(33, 127))]
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in pieces)]
    return T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=512)


def stable_diffusion(
    folder: Path,
    *,
    seed: int = 0,
    in_channels: int = 4,
    safety_checker: bool = False,
    tokenizer: CLIPTokenizer | None = None,
    **scheduler: Any,
) -> None:
    """Saves Stable Diffusion 1.x or 2.x.

    Args:
        folder: where to.
        seed: of the weights.
        in_channels: 9 for a model made for inpainting.
        safety_checker: whether it has one; it withholds nothing.
        tokenizer: a small one by default.
        scheduler: options of its PNDM scheduler, such as prediction_type="v_prediction".
    """
    tokenizer = tokenizer or clip_tokenizer()
    pipeline = StableDiffusionInpaintPipeline if in_channels == 9 else StableDiffusionPipeline
    checker = seeded(seed + 3, _safety_checker) if safety_checker else None
    extractor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32) if safety_checker else None
    pipeline(
        vae=seeded(seed + 1, _vae),
        text_encoder=seeded(seed + 2, lambda: CLIPTextModel(_clip(tokenizer, WIDTH))),
        tokenizer=tokenizer,
        unet=seeded(seed, lambda: _unet(in_channels=in_channels, cross_attention_dim=WIDTH)),
        scheduler=PNDMScheduler(**{**_SD_NOISE, "skip_prk_steps": True, "steps_offset": 1, **scheduler}),
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=safety_checker,
    ).save_pretrained(folder)


def stable_diffusion_xl(
    folder: Path, *, seed: int = 0, in_channels: int = 4, tokenizer: CLIPTokenizer | None = None
) -> None:
    """Saves SDXL; `in_channels` is 9 for a model made for inpainting."""
    tokenizer = tokenizer or clip_tokenizer()
    sizes = {"cross_attention_dim": WIDTH + WIDTH_2, "projection_class_embeddings_input_dim": 6 * 8 + WIDTH_2}
    pipeline = StableDiffusionXLInpaintPipeline if in_channels == 9 else StableDiffusionXLPipeline
    pipeline(
        vae=seeded(seed + 1, _vae),
        text_encoder=seeded(seed + 2, lambda: CLIPTextModel(_clip(tokenizer, WIDTH))),
        text_encoder_2=seeded(seed + 3, lambda: CLIPTextModelWithProjection(_clip(tokenizer, WIDTH_2))),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=seeded(seed, lambda: _unet(in_channels=in_channels, **_text_time(), **sizes)),
        scheduler=EulerDiscreteScheduler(**_SD_NOISE, timestep_spacing="leading", steps_offset=1),
    ).save_pretrained(folder)


def sdxl_refiner(folder: Path, *, seed: int = 0, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves an SDXL refiner, whose VAE equals the one of `stable_diffusion_xl` with the same seed."""
    tokenizer = tokenizer or clip_tokenizer()
    sizes = {"cross_attention_dim": WIDTH_2, "projection_class_embeddings_input_dim": 5 * 8 + WIDTH_2}
    StableDiffusionXLImg2ImgPipeline(
        vae=seeded(seed + 1, _vae),
        text_encoder=None,
        text_encoder_2=seeded(seed + 3, lambda: CLIPTextModelWithProjection(_clip(tokenizer, WIDTH_2))),
        tokenizer=None,
        tokenizer_2=tokenizer,
        unet=seeded(seed + 4, lambda: _unet(**_text_time(), **sizes)),
        scheduler=EulerDiscreteScheduler(**_SD_NOISE, timestep_spacing="leading", steps_offset=1),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    ).save_pretrained(folder)


def stable_diffusion_3(folder: Path, *, seed: int = 0, t5: bool = True, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves Stable Diffusion 3, with its third text encoder or without."""
    tokenizer, third = tokenizer or clip_tokenizer(), t5_tokenizer() if t5 else None
    StableDiffusion3Pipeline(
        vae=seeded(seed + 1, lambda: _vae(16, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False)),
        text_encoder=seeded(seed + 2, lambda: CLIPTextModelWithProjection(_clip(tokenizer, WIDTH))),
        text_encoder_2=seeded(seed + 3, lambda: CLIPTextModelWithProjection(_clip(tokenizer, WIDTH_2))),
        text_encoder_3=seeded(seed + 4, lambda: _t5(third)) if third else None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=third,
        transformer=seeded(seed, _sd3_transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(folder)


def flux(folder: Path, *, seed: int = 0, guidance_embeds: bool = True, tokenizer: CLIPTokenizer | None = None) -> None:
    """Saves Flux: with `guidance_embeds` as FLUX.1-dev, without as FLUX.1-schnell."""
    tokenizer, second = tokenizer or clip_tokenizer(), t5_tokenizer()
    FluxPipeline(
        vae=seeded(seed + 1, lambda: _vae(16, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False)),
        text_encoder=seeded(seed + 2, lambda: CLIPTextModel(_clip(tokenizer, WIDTH))),
        text_encoder_2=seeded(seed + 3, lambda: _t5(second)),
        tokenizer=tokenizer,
        tokenizer_2=second,
        transformer=seeded(seed, lambda: _flux_transformer(guidance_embeds)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guidance_embeds),
    ).save_pretrained(folder)


def vae(folder: Path, *, seed: int = 7) -> None:
    """Saves another VAE for the toys of Stable Diffusion and SDXL."""
    seeded(seed, _vae).save_pretrained(folder)


def seeded(seed: int, make: Callable[[], nn.Module]) -> Any:
    """What `make` returns, its random weights drawn from `seed`; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval()


def _clip(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        hidden_act="quick_gelu" if width == WIDTH else "gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    sizes = {"d_model": WIDTH_T5, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", **sizes))


def _vae(latent_channels: int = 4, **options: Any) -> AutoencoderKL:
    """Eight pixels a latent, as all these families have."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=64,
        **options,
    )


def _unet(**options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **options,
    )


def _text_time() -> dict[str, Any]:
    """What SDXL's UNet is told beside the prompt: the pooled text and the picture's sizes."""
    return {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "use_linear_projection": True}


def _sd3_transformer() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH_T5,
        caption_projection_dim=32,
        pooled_projection_dim=WIDTH + WIDTH_2,
        pos_embed_max_size=16,
    )


def _flux_transformer(guidance_embeds: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH_T5,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )


def _safety_checker() -> StableDiffusionSafetyChecker:
    """One that finds nothing: its thresholds are above every cosine."""
    tower = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(vision_config={**tower, "image_size": 32, "patch_size": 8}, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    nn.init.constant_(checker.concept_embeds_weights, 2.0)
    nn.init.constant_(checker.special_care_embeds_weights, 2.0)
    return checker
