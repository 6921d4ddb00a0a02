"""Rules of fine-tuning, captions and adapters: their warnings, and where they keep still."""
# ruff: noqa: E501 (exact texts)

import pytest

from runner.language import schemas
from tests.language.saying import found

TUNE = """version: 1
name: trial
data: {type: folder, id: ./pictures, resolution: 512}
model: {type: pretrained, id: owner/name}
training: {max_train_steps: 1000}
"""
PIXELS = """version: 1
name: trial
data: {type: folder, id: ./pictures, resolution: 32}
model: {type: pixel_unet, block_out_channels: [32, 64]}
scheduler: {beta_schedule: squaredcos_cap_v2}
training: {max_train_steps: 1000}
"""
VAE = """version: 1
name: trial
data: {type: folder, id: ./pictures, resolution: 32}
model: {type: autoencoder_kl}
training: {max_train_steps: 1000}
"""
LATENT = """version: 1
name: trial
data: {type: builtin, resolution: 32}
model: {type: latent_unet, vae: {id: ./vae}}
scheduler: {beta_schedule: squaredcos_cap_v2}
training: {max_train_steps: 1000}
"""
LORA = "adapter={type: lora}"
WORD = "adapter={type: textual_inversion, token: <x>}"


PIXEL_CAPTIONS = "nothing reads captions here: a pixel_unet knows no text"
NO_NOISE = "has no effect: an autoencoder_kl learns without noise"
VARIANTS = "cache_variants has no effect: pictures and captions are always the same; it goes with center_crop: false, color_jitter or shuffle_tags"


@pytest.mark.parametrize(
    ("text", "overrides", "path", "message"),
    [
        (PIXELS, ["data.instance_prompt=a rose"], "data.instance_prompt", PIXEL_CAPTIONS),
        (PIXELS, ["data.caption_templates=[a rose]"], "data.caption_templates", PIXEL_CAPTIONS),
        (PIXELS, ["data.trigger=sks"], "data.trigger", PIXEL_CAPTIONS),
        (PIXELS, ["data.shuffle_tags=true"], "data.shuffle_tags", PIXEL_CAPTIONS),
        (PIXELS, ["data.caption_dropout_rate=0.1"], "data.caption_dropout_rate", PIXEL_CAPTIONS),
        (PIXELS, ["data.metadata_file=./m.jsonl"], "data.metadata_file", PIXEL_CAPTIONS),
        (PIXELS, ["data={type: mixed, resolution: 32, sources: [{type: folder, id: ./x, instance_prompt: y}]}"], "data.sources.0.instance_prompt", PIXEL_CAPTIONS),
        (VAE, ["data.trigger=sks"], "data.trigger", "nothing reads captions here: an autoencoder_kl knows no text"),
        (VAE, ["training.snr_gamma=5"], "training.snr_gamma", f"snr_gamma {NO_NOISE}"),
        (VAE, ["training.noise_offset=0.1"], "training.noise_offset", f"noise_offset {NO_NOISE}"),
        (VAE, ["training.input_perturbation=0.1"], "training.input_perturbation", f"input_perturbation {NO_NOISE}"),
        (VAE, ["training.timestep_sampling=logit_normal"], "training.timestep_sampling", f"timestep_sampling {NO_NOISE}"),
        (VAE, ["training.cache_latents=false"], "training.cache_latents", f"cache_latents {NO_NOISE}"),
        (VAE, ["training.cache_variants=8"], "training.cache_variants", "cache_variants has no effect: nothing is cached"),
        (PIXELS, ["training.cache_latents=false"], "training.cache_latents", "cache_latents has no effect: a pixel_unet has none"),
        (TUNE, ["training.kl_weight=1"], "training.kl_weight", "kl_weight has no effect: it is of autoencoder_kl, and this is pretrained"),
        (TUNE, ["training.logit_mean=1"], "training.logit_mean", "logit_mean has no effect with timestep_sampling: uniform; it goes with timestep_sampling: logit_normal"),
        (TUNE, ["training.logit_std=2"], "training.logit_std", "logit_std has no effect with timestep_sampling: uniform; it goes with timestep_sampling: logit_normal"),
        (TUNE, ["training.cache_variants=8"], "training.cache_variants", VARIANTS),
        (TUNE, ["training.cache_variants=8", "training.cache_latents=false", "training.cache_text_embeddings=false"], "training.cache_variants", "cache_variants has no effect: nothing is cached"),
        (TUNE, ["training.validation_loss_steps=50"], "training.validation_loss_steps", "validation_loss_steps has no effect: no pictures are held out; it goes with validation_split: 0.1"),
        (TUNE, ["training.text_encoder_learning_rate=1e-5"], "training.text_encoder_learning_rate", "it has no effect: no text encoder learns; it goes with freeze: [vae]"),
        (TUNE, ["training.text_encoder_learning_rate=1e-5", "freeze=[vae, 'text_*']"], "training.text_encoder_learning_rate", "it has no effect: no text encoder learns; it goes with freeze: [vae]"),
        (TUNE, ["training.text_encoder_learning_rate=1e-5", LORA], "training.text_encoder_learning_rate", "it has no effect: no text encoder learns; it goes with adapter.parts: [unet, text_encoder]"),
        (TUNE, ["training.text_encoder_learning_rate=1e-5", WORD], "training.text_encoder_learning_rate", "it has no effect with textual_inversion: the word learns by learning_rate"),
        (PIXELS, ["training.text_encoder_learning_rate=1e-5"], "training.text_encoder_learning_rate", "it has no effect: no text encoder learns; it goes with a model that reads text"),
        (TUNE, ["data={type: builtin, resolution: 64, caption: {id: x/y}}"], "data.caption", "the built-in pictures all have captions: caption has no effect without overwrite: true"),
        (TUNE, ["data.instance_prompt=a rose", "data.caption={id: x/y}"], "data.caption", "nothing reads the captions that this writes: instance_prompt takes their place"),
        (LATENT, ["data.aspect_ratio_buckets={step: 32}"], "data.aspect_ratio_buckets", "buckets have no effect: the built-in pictures are square"),
        (TUNE, ["training=null", "sampling={}", "data.prior={prompt: x}", "data.caption={id: x/y}"], "data.prior", "nothing is trained, so prior has no effect"),
    ],
)  # fmt: skip
def test_warnings(text: str, overrides: list[str], path: str, message: str) -> None:
    assert found(text, overrides) == [("warning", path, message)]


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (TUNE, []),
        (PIXELS, []),
        (VAE, []),
        (LATENT, []),
        (VAE, ["training.sample_steps=100", "training.kl_weight=1e-4"]),
        (PIXELS, ["freeze=['unet.down_blocks.*']"]),
        (TUNE, ["freeze=[vae]", "training.text_encoder_learning_rate=1e-5"]),
        (TUNE, ["freeze=[unet.down_blocks.*]"]),  # a pretrained pixel_unet has no VAE to freeze
        (TUNE, ["freeze=[vae, text_encoder, unet.mid_block]"]),
        (TUNE, ["model.family=stable_diffusion_xl", "freeze=[vae, unet, text_encoder]"]),  # the second one learns
        (TUNE, ["adapter={type: lora, parts: [text_encoder]}", "training.text_encoder_learning_rate=1e-5"]),
        (TUNE, [LORA, "output.formats=[kohya, diffusers]"]),
        (LATENT, [LORA]),
        (LATENT, ["training.text_encoder_learning_rate=1e-5"]),
        (TUNE, [WORD, "data.caption_templates=[a photo, a photo of <x>]"]),
        (TUNE, [WORD, "data.caption_templates=['{caption}']"]),
        (TUNE, [WORD, "data.instance_prompt=a photo", "data.trigger=<x>"]),
        (TUNE, ["data.center_crop=false", "training.cache_variants=8"]),
        (TUNE, ["data.color_jitter={hue: 0.1}", "training.cache_variants=8"]),
        (TUNE, ["data.shuffle_tags=true", "training.cache_variants=8"]),
        (TUNE, ["training.validation_split=0.1", "training.validation_loss_steps=50"]),
        (TUNE, ["training.validation_prompts=[a rose]", "training.sample_steps=100", "sampling={prompts: [a rose]}"]),
        (TUNE, ["scheduler={type: DDPM}", "sampling={scheduler: {type: EulerDiscrete}}"]),
        (TUNE, [LORA, "compute.offload=none"]),
        (TUNE, ["model.family=pixel_unet", "data.resolution=28"]),
        (TUNE, ["data.caption={id: x/y}"]),
        (TUNE, ["training=null", "model=null", "data.caption={id: x/y}"]),
    ],
)
def test_silence(text: str, overrides: list[str]) -> None:
    assert found(text, overrides) == []


def test_templates_of_new_words_hold_the_word() -> None:
    templates = schemas.read("adapter/textual_inversion.json")["x-templates"]
    kinds = schemas.read("adapter/textual_inversion.json")["properties"]["learnable_property"]["enum"]
    assert list(templates) == kinds
    for texts in templates.values():
        assert len(set(texts)) == len(texts) >= 20
        assert all(text.count("{token}") == 1 and text.count("{") == 1 for text in texts)
