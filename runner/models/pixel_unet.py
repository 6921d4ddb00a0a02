"""The pixel-space UNet: diffusers' UNet2DModel on pictures themselves, with or without classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DDPMPipeline, DDPMScheduler, SchedulerMixin, UNet2DModel
from PIL import Image
from torch import Tensor, nn

from runner.data.batches import NO_CLASS, Batch
from runner.diffusion.denoise import Tick, denoise
from runner.diffusion.samplers import SCHEDULERS, noise_scheduler, sampler, saved_scheduler
from runner.diffusion.schedules import DiscreteSchedule
from runner.errors import ModelError
from runner.models.family import Drawn, Facts, Moments, Request
from runner.models.weights import load_part, read_config, read_labels
from runner.shown import shown

LABELS = "labels.json"


class PixelUNet:
    """A UNet2DModel and its noise schedule.

    A class-conditional UNet has one embedding more than classes: the last one stands for 'no class'.
    """

    def __init__(self, unet: UNet2DModel, scheduler: SchedulerMixin, facts: Facts) -> None:
        self.unet = unet
        self.scheduler = scheduler
        self.facts = facts
        self.parts: dict[str, nn.Module] = {"unet": unet}
        self.schedule = DiscreteSchedule(scheduler, unet.device)
        size = unet.config["sample_size"]
        self.sample_shape = (unet.config["in_channels"], size, size)

    @staticmethod
    def block_types(model: dict[str, Any]) -> dict[str, list[str]]:
        """The block types of a `model` section: attention in the lowest level where the recipe names none."""
        down = model["down_block_types"]
        if down is None:
            down = ["DownBlock2D"] * (len(model["block_out_channels"]) - 1) + ["AttnDownBlock2D"]
        up = model["up_block_types"] or [
            block.replace("Downsample", "Upsample").replace("Down", "Up") for block in reversed(down)
        ]
        return {"down_block_types": down, "up_block_types": up}

    @classmethod
    def from_recipe(
        cls, model: dict[str, Any], scheduler: dict[str, Any], resolution: int, classes: list[str]
    ) -> Facts:
        """The facts of a model that a settled `model` section describes.

        Args:
            model: the section, its `num_class_embeds` a number or None and its block types filled.
            scheduler: the resolved noise schedule.
            resolution: width and height of the pictures.
            classes: the class names, as many as `num_class_embeds`; empty without classes.
        """
        config = {key: value for key, value in model.items() if key not in ("type", "num_class_embeds")}
        if model["num_class_embeds"] is not None:
            config["num_class_embeds"] = model["num_class_embeds"] + 1
        config |= {"sample_size": resolution, "in_channels": 3, "out_channels": 3}
        return Facts("pixel_unet", {"unet": config, "scheduler": scheduler}, classes)

    @classmethod
    def inspect(cls, folder: Path) -> Facts:
        """The facts of a saved model: its configurations and class names, no weights.

        Raises:
            ModelError: a file is missing, not JSON, of another class, or holds values that build no model.
        """
        unet = read_config(folder / "unet" / "config.json", ["UNet2DModel"])
        scheduler = read_config(folder / "scheduler" / "scheduler_config.json", SCHEDULERS)
        facts = Facts("pixel_unet", {"unet": unet, "scheduler": scheduler}, read_labels(folder / LABELS), folder)
        try:
            cls.skeleton(facts)
            saved_scheduler(scheduler)
        except Exception as error:  # diffusers raises nearly anything on values it cannot build from
            raise ModelError(f"{shown(folder)} holds a configuration that builds no model ({shown(error)})") from None
        return facts

    @classmethod
    def skeleton(cls, facts: Facts) -> UNet2DModel:
        """The UNet without memory for its weights (torch's meta device): to count, not to run."""
        with torch.device("meta"):
            return UNet2DModel.from_config(facts.configs["unet"])

    @classmethod
    def toy(cls, folder: Path) -> None:
        """Saves a tiny model with random weights, to rehearse recipes that draw from a saved one."""
        unet = UNet2DModel(
            sample_size=32,
            block_out_channels=(16, 16),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)

    @classmethod
    def rehearse(cls, unet: UNet2DModel, facts: Facts) -> Tensor:
        """The output for one picture of the skeleton's device."""
        size = facts.configs["unet"]["sample_size"]
        x = torch.zeros(1, facts.configs["unet"]["in_channels"], size, size, device=unet.device)
        label = torch.zeros(1, dtype=torch.long, device=unet.device)
        return unet(x, label, **({"class_labels": label} if facts.classes else {})).sample

    @classmethod
    def build(cls, facts: Facts, *, device: torch.device, seed: int) -> Self:
        if facts.folder is not None:
            unet = load_part(UNet2DModel, facts.folder / "unet", cls.skeleton(facts))
            scheduler = saved_scheduler(facts.configs["scheduler"])
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                unet = UNet2DModel.from_config(facts.configs["unet"])
            scheduler = noise_scheduler(facts.configs["scheduler"])
        return cls(unet.to(device), scheduler, facts)

    def encode(self, pixels: Tensor) -> Moments:
        """Pixels scaled to [-1, 1]."""
        return Moments(pixels.float() / 127.5 - 1)

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        if batch.labels is None:
            return {}
        return {"class_labels": torch.where(batch.labels == NO_CLASS, self._no_class, batch.labels)}

    def predict(self, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        return self.unet(x_t, t, **cond).sample

    def calls(self, request: Request) -> int:
        scheduler = sampler(self.scheduler, request.scheduler)
        scheduler.set_timesteps(request.num_inference_steps)
        return len(scheduler.timesteps)

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """Pictures by `runner.sampling.denoise`, equal to DDPMPipeline's and DDIMPipeline's where those can draw."""
        scheduler = sampler(self.scheduler, request.scheduler)
        conds = self._conditions(request, len(generators))
        latents, moments = denoise(
            lambda x, t: self._guided(x, t, conds, request.guidance_scale),
            scheduler,
            shape=self.sample_shape,
            generators=generators,
            steps=request.num_inference_steps,
            device=self.unet.device,
            eta=request.eta,
            keep=request.moments,
            tick=tick,
        )
        frames = [self._images(m) for m in moments]
        return Drawn(self._images(latents), [list(strip) for strip in zip(*frames, strict=True)])

    def save(self, folder: Path) -> None:
        """Without classes a DDPMPipeline's folder; with classes its parts and `labels.json`.

        diffusers has no pipeline that hands classes to a UNet2DModel, so no model_index.json is written then.
        """
        if not self.facts.classes:
            DDPMPipeline(self.unet, self.scheduler).save_pretrained(folder)
            return
        self.unet.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        (folder / LABELS).write_text(json.dumps(self.facts.classes, ensure_ascii=False, indent=2) + "\n", "utf-8")

    @property
    def _no_class(self) -> int:
        return int(self.unet.config["num_class_embeds"]) - 1

    def _conditions(self, request: Request, count: int) -> list[dict[str, Tensor]]:
        """What the UNet is told: nothing, the classes, or (no class, the classes) for guidance."""
        if request.labels is None:
            return [{}]
        labels = torch.tensor(request.labels, device=self.unet.device)
        if request.guidance_scale == 1:
            return [{"class_labels": labels}]
        none = torch.full((count,), self._no_class, device=self.unet.device)
        return [{"class_labels": none}, {"class_labels": labels}]

    def _guided(self, x: Tensor, t: Tensor, conds: list[dict[str, Tensor]], scale: float) -> Tensor:
        """Classifier-free guidance (Ho and Salimans 2022): both predictions in one batch."""
        if len(conds) == 1:
            return self.predict(x, t, conds[0])
        together = {key: torch.cat([cond[key] for cond in conds]) for key in conds[0]}
        without, towards = self.predict(torch.cat([x, x]), t, together).chunk(2)
        return without + scale * (towards - without)

    def _images(self, latents: Tensor) -> list[Image.Image]:
        arrays = self.decode(latents).cpu().permute(0, 2, 3, 1).float().numpy()
        return [Image.fromarray(a) for a in (arrays * 255).round().astype("uint8")]
