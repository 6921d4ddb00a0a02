"""How Stable Diffusion and SDXL learn: from latents of the VAE and hidden states of the text encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DDPMScheduler
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor
from transformers import CLIPTokenizer

from runner.data.batches import Batch
from runner.diffusion.denoise import Tick
from runner.diffusion.samplers import as_saved
from runner.diffusion.schedules import DiscreteSchedule
from runner.models.family import Drawn, Request
from runner.models.pipeline import PipelineFamily
from runner.models.quiet import silent
from runner.models.trainable import Moments

_HALF = (torch.float16, torch.bfloat16)


class LearningFamily(PipelineFamily):
    """A latent model with a UNet and CLIP text encoders; see `Trainable` for its doors."""

    DENOISER: ClassVar[str] = "unet"
    TEXT_PARTS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    PIXEL_PARTS: ClassVar[tuple[str, ...]] = ("vae",)
    UPCASTS: ClassVar[bool] = False
    """Whether its pipelines let a VAE that overflows in fp16 compute in fp32."""
    FROZEN: ClassVar[tuple[str, ...]] = ("vae", "text_encoder")

    @cached_property
    def schedule(self) -> DiscreteSchedule:
        """DDPM's forward process with the betas and the prediction type of the model's own scheduler."""
        return DiscreteSchedule(DDPMScheduler.from_config(self._components["scheduler"].config), self._device)

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """See `Family.draw`."""
        with _undisturbed(self._components["vae"], self._device):
            return super().draw(request, generators, tick)

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        factor = self.vae_scale_factor(self.facts)
        return (self._components["vae"].config["latent_channels"], height // factor, width // factor)

    def encode(self, pixels: Tensor) -> Moments:
        """The VAE's posterior, shifted and scaled as its configuration says (Rombach et al. 2022, section G)."""
        vae = self._components["vae"]
        with self._precise(vae), torch.autocast(pixels.device.type, enabled=False):
            posterior = vae.encode((pixels.float() / 127.5 - 1).to(vae.dtype)).latent_dist
        shift, scale = vae.config.get("shift_factor") or 0.0, vae.config["scaling_factor"]
        return Moments((posterior.mean.float() - shift) * scale, posterior.std.float() * scale)

    def decode(self, latents: Tensor) -> Tensor:
        vae = self._components["vae"]
        shift, scale = vae.config.get("shift_factor") or 0.0, vae.config["scaling_factor"]
        with self._precise(vae), torch.autocast(latents.device.type, enabled=False):
            pictures = vae.decode((latents / scale + shift).to(vae.dtype)).sample
        return (pictures.float() / 2 + 0.5).clamp(0, 1)

    def embed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The last hidden states (N, 77, D), as StableDiffusionPipeline hands them to the UNet."""
        return {"encoder_hidden_states": self._read("text_encoder", texts)[0]}

    def tokenizer(self, text_part: str) -> Any:
        return self._components[text_part.replace("text_encoder", "tokenizer")]

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        if batch.text:
            return batch.text
        if any(p.requires_grad for name in self.TEXT_PARTS for p in self.parts[name].parameters()):
            return self.embed(batch.captions)
        # Encoders at rest compute in the number format they have, as they do for the cache.
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            return self.embed(batch.captions)

    def predict(self, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        unet = self._components["unet"]
        added = {key: cond[key] for key in ("text_embeds", "time_ids") if key in cond}
        x_t = x_t if torch.is_autocast_enabled(x_t.device.type) else x_t.to(unet.dtype)
        output: Tensor = unet(x_t, t, cond["encoder_hidden_states"], added_cond_kwargs=added or None).sample
        return output

    def cautions(self) -> list[str]:
        """Captions that are cut off; a VAE that overflows in fp16 and computes in fp32, which takes more of all."""
        found, texts = [], list(self.facts.texts)
        tokenizer = self.tokenizer(self.TEXT_PARTS[-1])
        longest = int(tokenizer.model_max_length)
        cut = sum(len(ids) > longest for ids in tokenizer(texts).input_ids) if texts else 0
        if cut:
            found.append(
                f"{cut:,} of {len(texts):,} captions are longer than the {longest} tokens that are read of them"
            )
        vae = self._components["vae"]
        if self.UPCASTS and vae.dtype is torch.float16 and vae.config["force_upcast"]:
            found.append(
                "this model's VAE overflows in fp16 and computes in fp32: one that does not, such as "
                "model.vae: {id: madebyollin/sdxl-vae-fp16-fix}, takes less time and memory"
            )
        return found

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Its configuration says nothing of the pictures."""

    def save(self, folder: Path) -> None:
        """The whole pipeline, each part in the number format that it has."""
        pipeline = self._pipeline
        pipeline.scheduler = as_saved(self._own)
        for part in pipeline.components.values():
            if isinstance(part, CLIPTokenizer):  # it keeps how the last texts were cut and filled up
                part.backend_tokenizer.no_truncation()
                part.backend_tokenizer.no_padding()
        with silent():
            pipeline.save_pretrained(folder)

    @contextmanager
    def _precise(self, vae: Any) -> Iterator[None]:
        """A VAE that overflows in half precision, such as SDXL's own, computes in fp32 inside."""
        dtype = vae.dtype
        upcast = self.UPCASTS and dtype in _HALF and vae.config["force_upcast"]
        if upcast:
            vae.to(torch.float32)
        try:
            yield
        finally:
            if upcast:
                vae.to(dtype)

    def _read(self, name: str, texts: Sequence[str], **options: Any) -> Any:
        """The output of a text encoder for texts, each filled up or cut to what it reads."""
        encoder, tokenizer = self._components[name], self.tokenizer(name)
        if isinstance(self._pipeline, TextualInversionLoaderMixin):
            texts = self._pipeline.maybe_convert_prompt(list(texts), tokenizer)
        ids = tokenizer(
            list(texts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return encoder(ids.to(encoder.device), **options)


@contextmanager
def _undisturbed(vae: Any, device: torch.device) -> Iterator[None]:
    """A VAE computes in the number format that it has, or that its pipeline gives it for a while: drawing on the way of
    a training in fp16, autocast would put back what overflows there.
    """
    if not torch.is_autocast_enabled(device.type):
        yield
        return

    def plainly(call: Any) -> Any:
        def called(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            with torch.autocast(device.type, enabled=False):
                return call(tensor.to(vae.dtype), *arguments, **options)

        return called

    vae.encode, vae.decode = plainly(vae.encode), plainly(vae.decode)
    try:
        yield
    finally:
        del vae.encode, vae.decode
