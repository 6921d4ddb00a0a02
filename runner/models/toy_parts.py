"""The parts of toy pipelines: tiny models of the real classes with random weights, and tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPConfig,
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


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE with whole tokens for a few words; any other text becomes one token a character."""
    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[Any] = []
    for word in WORDS:
        left, *rest = [*word[:-1], f"{word[-1]}</w>"]
        for right in rest:
            merges.append((left, right))
            left += right
            names.append(left)
    names = [*dict.fromkeys(names), "<|startoftext|>", "<|endoftext|>"]
    vocab = {name: i for i, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    """A Unigram model of printable ASCII with whole tokens for a few words."""
    pieces = [*(f"▁{word}" for word in WORDS), "▁", *map(chr, range(33, 127))]
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in pieces)]
    return T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=512)


def seeded(make: Callable[..., nn.Module]) -> Callable[..., Any]:
    """`make` with a further first argument, the seed of its random weights; torch's own generator is left alone."""

    @wraps(make)
    def made(seed: int, *arguments: Any, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(*arguments, **options).eval()

    return made


@seeded
def clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text encoder of Stable Diffusion, and the first one of SDXL."""
    return CLIPTextModel(_clip_config(tokenizer, WIDTH, "quick_gelu"))


@seeded
def clip_projected(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModelWithProjection:
    """A text encoder whose summary of the text is projected."""
    return CLIPTextModelWithProjection(_clip_config(tokenizer, width, "gelu"))


def _clip_config(tokenizer: CLIPTokenizer, width: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@seeded
def t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A T5 encoder of two layers."""
    sizes: dict[str, Any] = {"d_model": WIDTH_T5, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", **sizes))


@seeded
def vae(latent_channels: int = 4, **options: Any) -> AutoencoderKL:
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


@seeded
def unet(**options: Any) -> UNet2DConditionModel:
    """A UNet of two levels."""
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


@seeded
def sdxl_unet(width: int, numbers: int, **options: Any) -> UNet2DConditionModel:
    """A UNet that is told the pooled text and some numbers beside text of this width."""
    make: Any = unet.__wrapped__  # type: ignore[attr-defined]
    return make(  # type: ignore[no-any-return]
        cross_attention_dim=width,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * numbers + WIDTH_2,
        use_linear_projection=True,
        **options,
    )


@seeded
def sd3_transformer() -> SD3Transformer2DModel:
    """Stable Diffusion 3's denoiser."""
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


@seeded
def flux_transformer(guidance_embeds: bool) -> FluxTransformer2DModel:
    """Flux's denoiser."""
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


@seeded
def safety_checker(threshold: float) -> StableDiffusionSafetyChecker:
    """One that withholds pictures whose cosine with a concept is above the threshold: 2 for none, -2 for all."""
    tower = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(vision_config={**tower, "image_size": 32, "patch_size": 8}, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    nn.init.constant_(checker.concept_embeds_weights, threshold)
    nn.init.constant_(checker.special_care_embeds_weights, threshold)
    return checker
