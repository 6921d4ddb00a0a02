"""Models with the layers of real ones and random weights."""

from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from runner.models import toy_parts


def stable_diffusion(folder, *, unet, vae, text):
    """Stable Diffusion 1.5's layers with a small tokenizer.

    Args:
        unet, vae, text: what the configurations of the parts have otherwise.
    """
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(**unet),
        vae=AutoencoderKL(layers_per_block=2, **blocks, **vae),
        text_encoder=CLIPTextModel(CLIPTextConfig(num_hidden_layers=12, num_attention_heads=12, **text)),
        tokenizer=toy_parts.clip_tokenizer(),
        scheduler=PNDMScheduler(beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
