"""The pixel-space UNet: diffusers' UNet2DModel on pictures themselves, with or without classes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, SchedulerMixin, UNet2DModel
from PIL import Image
from torch import Tensor, nn

from runner.data.batches import NO_CLASS, Batch
from runner.diffusion.denoise import Tick, denoise
from runner.diffusion.samplers import noise_scheduler, sampler, saved_scheduler
from runner.diffusion.schedules import DiscreteSchedule
from runner.errors import ModelError
from runner.models.family import COMMON, DTYPES, Drawn, Facts, Misfit, Request
from runner.models.files import Files
from runner.models.parts import find_part, load_part, skeleton
from runner.models.pixel_files import LABELS, saved_labels, saved_schedule
from runner.models.trainable import Moments
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress


class PixelUNet:
    """A UNet2DModel and its noise schedule.

    A class-conditional UNet has one embedding more than classes: the last one stands for 'no class'.
    """

    KEYS: ClassVar[frozenset[str]] = COMMON | {"labels", "guidance_scale", "eta", "noise_preview", "trajectory"}
    GPU_DTYPE: ClassVar[str] = "fp32"
    DENOISER: ClassVar[str] = "unet"
    TEXT_PARTS: ClassVar[tuple[str, ...]] = ()
    PIXEL_PARTS: ClassVar[tuple[str, ...]] = ()
    FROZEN: ClassVar[tuple[str, ...]] = ()

    def __init__(self, unet: UNet2DModel, scheduler: SchedulerMixin, facts: Facts) -> None:
        self.unet = unet
        self.scheduler = scheduler
        self.facts = facts
        self.parts: dict[str, nn.Module] = {"unet": unet}
        self.schedule = DiscreteSchedule(scheduler, unet.device)

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
    def inspect(cls, files: Files, *, variant: str | None, allow_pickle: bool) -> Facts:
        unet, config = find_part(files, "unet", "UNet2DModel", variant=variant, allow_pickle=allow_pickle)
        scheduler = saved_schedule(files)
        configs = {"unet": config, "scheduler": scheduler}
        facts = Facts("pixel_unet", configs, saved_labels(files), parts={"unet": unet})
        try:
            cls.skeletons(facts)
            saved_scheduler(scheduler)
        except Exception as error:  # diffusers raises nearly anything on values it cannot build from
            where = shown(files.origin)
            raise ModelError(f"{where} holds a configuration that builds no model ({shown(error)})") from None
        return facts

    @classmethod
    def defaults(cls, facts: Facts, sampling: dict[str, Any]) -> dict[str, Any]:
        """DDPM takes DDPMPipeline's number of steps, the faster samplers DDIMPipeline's."""
        own = facts.configs["scheduler"]
        kind = (sampling.get("scheduler") or {}).get("type") or own.get("type") or own["_class_name"]
        pipeline = DDPMPipeline if kind.startswith("DDPM") else DDIMPipeline
        steps = inspect.signature(pipeline.__call__).parameters["num_inference_steps"].default
        found = {"num_inference_steps": steps, "guidance_scale": 1.0}
        return {key: value for key, value in found.items() if sampling[key] == "auto"}

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        for i, label in enumerate(sampling["labels"] or []):
            if label not in facts.classes:
                known = ", ".join(map(shown, facts.classes)) or "none"
                yield Misfit(
                    f"labels.{i}", "unknown-class", f"no class {shown(label)!r}: the model's classes are {known}"
                )
        if sampling["guidance_scale"] != 1 and not facts.classes:
            message = "guidance needs a model with classes, and this one has none: write 1"
            yield Misfit("guidance_scale", "guidance-without-classes", message)

    @classmethod
    def skeletons(cls, facts: Facts) -> dict[str, nn.Module]:
        return {"unet": skeleton("UNet2DModel", facts.configs["unet"])}

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
    def rehearse(cls, denoiser: Any, facts: Facts, sampling: dict[str, Any] | None) -> Tensor:  # noqa: ARG003 - one size
        size = facts.configs["unet"]["sample_size"]
        x = torch.zeros(1, facts.configs["unet"]["in_channels"], size, size, device=denoiser.device)
        label = torch.zeros(1, dtype=torch.long, device=denoiser.device)
        return denoiser(x, label, **({"class_labels": label} if facts.classes else {})).sample

    @classmethod
    def rehearse_decoding(cls, parts: dict[str, Any], facts: Facts, sampling: dict[str, Any]) -> Tensor:  # noqa: ARG003
        size = facts.configs["unet"]["sample_size"]
        return torch.zeros(1, 3, size, size, device=parts["unet"].device)

    @classmethod
    def build(
        cls, facts: Facts, *, device: torch.device, seed: int, compute: dict[str, Any], progress: Progress
    ) -> Self:
        if facts.parts:
            part = facts.parts["unet"]
            root = part.files.fetch(part.names, progress)
            unet = load_part(part, root, dtype=DTYPES[compute["dtype"]], skeleton=cls.skeletons(facts)["unet"])
            scheduler = saved_scheduler(facts.configs["scheduler"])
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                unet = UNet2DModel.from_config(facts.configs["unet"])
            scheduler = noise_scheduler(facts.configs["scheduler"])
        return cls(unet.to(device), scheduler, facts)

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """That of the pictures."""
        return (self.unet.config["in_channels"], height, width)

    def encode(self, pixels: Tensor) -> Moments:
        """Pixels scaled to [-1, 1]."""
        return Moments(pixels.float() / 127.5 - 1)

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def embed(self, texts: Sequence[str]) -> dict[str, Tensor]:  # noqa: ARG002 - it knows no text
        return {}

    def tokenizer(self, text_part: str) -> Any:
        raise KeyError(text_part)  # it has none

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        if batch.labels is None:
            return {}
        return {"class_labels": torch.where(batch.labels == NO_CLASS, self._no_class, batch.labels)}

    def predict(self, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        weight: Tensor = self.unet.conv_in.weight  # diffusers' own `dtype` walks all modules, at each call
        return self.unet(x_t.to(weight.dtype), t, **cond).sample

    def calls(self, request: Request) -> int:
        scheduler = sampler(self.scheduler, request.sampling.get("scheduler"))
        scheduler.set_timesteps(request.sampling["num_inference_steps"])
        return len(scheduler.timesteps)

    def notices(self, request: Request) -> list[str]:  # noqa: ARG002 - it has no prompts
        return []

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """Pictures by `runner.sampling.denoise`, equal to DDPMPipeline's and DDIMPipeline's where those can draw."""
        sampling = request.sampling
        scheduler = sampler(self.scheduler, sampling.get("scheduler"))
        conds = self._conditions(request, len(generators))
        latents, moments = denoise(
            lambda x, t: self._guided(x, t, conds, sampling["guidance_scale"]),
            scheduler,
            shape=self.shape(self.unet.config["sample_size"], self.unet.config["sample_size"]),
            generators=generators,
            steps=sampling["num_inference_steps"],
            device=self.unet.device,
            eta=sampling["eta"],
            keep=sampling["trajectory"],
            tick=tick,
        )
        frames = [self._images(m) for m in moments]
        return Drawn(self._images(latents), [list(strip) for strip in zip(*frames, strict=True)])

    def cautions(self) -> list[str]:
        """See `Trainable.cautions`."""
        return []

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Its configuration says nothing of the pictures."""

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
        if request.sampling["guidance_scale"] == 1:
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
