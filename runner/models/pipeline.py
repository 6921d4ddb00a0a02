"""What the families that diffusers has pipelines for share: drawing is the pipeline's own call, unchanged."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from runner.diffusion.denoise import Tick
from runner.diffusion.samplers import SCHEDULERS, sampler, saved_scheduler
from runner.errors import ModelError
from runner.models.classes import kind_of
from runner.models.extras import lay_on
from runner.models.family import COMMON, DTYPES, Drawn, Facts, Misfit, Request
from runner.models.files import Files
from runner.models.fitting import misfits, set_timesteps
from runner.models.index import read_index
from runner.models.parts import find_part, load_part, skeleton
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

PROMPTED = COMMON | {"prompts", "negative_prompt", "height", "width", "guidance_scale"}
FROM_IMAGE = frozenset({"init_image", "mask_image", "strength"})
"""The keys of `sampling` that mean something to every family of this kind."""

TOKENIZER = ("CLIPTokenizer", "CLIPTokenizerFast")
FLOW = frozenset({"FlowMatchEulerDiscrete"})
DISCRETE = frozenset(name.removesuffix("Scheduler") for name in SCHEDULERS) - FLOW
"""The samplers of models that predict a flow, and those of models that predict noise or velocity."""

OPTIONS = (
    *("height", "width", "num_inference_steps", "guidance_scale", "guidance_rescale", "true_cfg_scale"),
    *("clip_skip", "eta", "strength", "max_sequence_length"),
)
"""The keys of `sampling` that are arguments of a pipeline's call."""


class PipelineFamily:
    """A model that a diffusers pipeline draws with; each family says which pipelines and parts it has."""

    KEYS: ClassVar[frozenset[str]]
    GPU_DTYPE: ClassVar[str] = "fp16"
    PIPELINES: ClassVar[dict[str, Any]]
    """Task (text2img, img2img, inpaint) -> diffusers' pipeline class; the first one is the model's own."""
    PARTS: ClassVar[dict[str, tuple[str, ...]]]
    """Part -> the classes that it may be of, the denoiser first."""
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """The parts that a model may do without."""
    SCHEDULERS: ClassVar[frozenset[str]]
    """The samplers, as `scheduler.type` names them, that its kind of noise can be drawn with."""
    SIDE: ClassVar[int] = 8
    """The sides of a picture are multiples of this many pixels."""
    OWN_SKIP: ClassVar[int] = 0
    """How many of the text encoder's last layers its pipelines leave out without being asked."""

    def __init__(
        self,
        parts: dict[str, Any],
        facts: Facts,
        *,
        device: torch.device,
        compute: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.facts = facts
        self.parts: dict[str, nn.Module] = {k: part for k, part in parts.items() if isinstance(part, nn.Module)}
        self._components = parts
        self._device, self._compute = device, compute
        self._task = next(iter(self.PIPELINES))
        self._pipeline = self._assembled()
        lay_on(self._pipeline, facts, progress)
        self._place()

    @classmethod
    def inspect(cls, files: Files, *, variant: str | None, allow_pickle: bool) -> Facts:
        """See `Family.inspect`."""
        index = read_index(files)
        parts, configs = {}, {}
        for name, allowed in cls.PARTS.items():
            if name not in index.parts:
                if name in cls.OPTIONAL:
                    continue
                raise ModelError(f"{shown(files.origin)} has no {name}: get the model again")
            found = index.parts[name][1]
            if found not in allowed:
                raise ModelError(
                    f"{shown(files.origin)} has a {name} of class {shown(found)}: "
                    f"this version of recipe reads {', '.join(allowed)}"
                )
            parts[name], configs[name] = find_part(files, name, found, variant=variant, allow_pickle=allow_pickle)
        facts = Facts(cls.family(), configs, parts=parts, pipeline=index.pipeline, options=index.options)
        cls.check(facts, shown(files.origin))
        return facts

    @classmethod
    def family(cls) -> str:
        """The name of the file that holds it."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def check(cls, facts: Facts, where: str) -> None:
        """Looks whether the configurations make a model of this family; that each part can be built is known.

        Raises:
            ModelError: they do not.
        """
        try:
            saved_scheduler(facts.configs["scheduler"])
        except Exception as error:  # diffusers raises nearly anything on values it cannot build from
            raise ModelError(f"{where} holds a configuration that builds no model ({shown(error)})") from None

    @classmethod
    def task(cls, sampling: dict[str, Any]) -> str:
        """Which of the pipelines draws what this section asks for."""
        if sampling.get("init_image") is None:
            return next(iter(cls.PIPELINES))
        return "img2img" if sampling.get("mask_image") is None else "inpaint"

    @classmethod
    def arguments(cls, task: str) -> Mapping[str, inspect.Parameter]:
        """The arguments of the call of a task's pipeline, by name."""
        return inspect.signature(cls.PIPELINES[task].__call__).parameters

    @classmethod
    def defaults(cls, facts: Facts, sampling: dict[str, Any]) -> dict[str, Any]:
        """The defaults of the pipeline's own call; None for what it does not take."""
        arguments = cls.arguments(cls.task(sampling))
        found = {key: arguments[key].default if key in arguments else None for key in cls.KEYS & set(OPTIONS)}
        height, width = cls.sample_size(facts)
        found |= {key: side for key, side in (("height", height), ("width", width)) if key in arguments}
        return {key: value for key, value in found.items() if sampling.get(key) == "auto"}

    @classmethod
    def sample_size(cls, facts: Facts) -> tuple[int, int]:
        """Height and width of the pictures that the model was made for."""
        size = facts.configs["unet"]["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        factor = cls.vae_scale_factor(facts)
        return height * factor, width * factor

    @staticmethod
    def vae_scale_factor(facts: Facts) -> int:
        """Pixels a latent, as the pipelines compute it."""
        return int(2 ** (len(facts.configs["vae"].get("block_out_channels", (64,))) - 1))

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        """See `Family.problems`; a family adds its own."""
        yield from misfits(cls, facts, sampling)

    @classmethod
    def skeletons(cls, facts: Facts) -> dict[str, nn.Module]:
        """See `Family.skeletons`."""
        found = {}
        for name, classes in cls.PARTS.items():
            if name in facts.configs and kind_of(classes[0], name).safe:
                found[name] = skeleton(classes[0], facts.configs[name])
        return found

    @classmethod
    def rehearse(cls, denoiser: Any, facts: Facts, sampling: dict[str, Any] | None) -> Tensor:
        """See `Family.rehearse`; guidance doubles the batch."""
        height, width = cls.sample_size(facts)
        if sampling is not None:
            height, width = sampling.get("height") or height, sampling.get("width") or width
        factor = cls.vae_scale_factor(facts)
        guided = sampling is not None and (sampling.get("guidance_scale") or 0) > 1
        return cls.forward(denoiser, facts, 2 if guided else 1, height // factor, width // factor)

    @classmethod
    def forward(cls, denoiser: Any, facts: Facts, batch: int, height: int, width: int) -> Tensor:
        """The denoiser's output for latents of this size and as much text as it reads."""
        raise NotImplementedError

    @classmethod
    def toy(cls, folder: Path) -> None:
        """See `Family.toy`."""
        from runner.models import toys

        getattr(toys, cls.family())(folder)

    @classmethod
    def build(
        cls, facts: Facts, *, device: torch.device, seed: int, compute: dict[str, Any], progress: Progress
    ) -> Self:
        """See `Family.build`. The seed is of no use: no weight is random."""
        wanted: dict[int, list[str]] = {}
        for part in facts.parts.values():
            wanted.setdefault(id(part.files), []).extend(part.names)
        roots = {id(part.files): part.files for part in facts.parts.values()}
        folders = {key: files.fetch(list(dict.fromkeys(wanted[key])), progress) for key, files in roots.items()}
        parts: dict[str, Any] = dict.fromkeys(cls.PARTS)
        for name, part in facts.parts.items():
            parts[name] = load_part(part, folders[id(part.files)], dtype=DTYPES[compute["dtype"]])
        return cls(parts, facts, device=device, compute=compute, progress=progress)

    def calls(self, request: Request) -> int:
        """See `Family.calls`."""
        self._ready(request)
        sampling, pipeline = request.sampling, self._pipeline
        steps = sampling["num_inference_steps"]
        set_timesteps(pipeline.scheduler, steps)
        timesteps = pipeline.scheduler.timesteps
        if request.latents is not None:
            start = {"denoising_start": sampling["refiner"]["high_noise_frac"]}
            return len(pipeline.get_timesteps(steps, 1.0, self._device, **start)[0])
        if self._task != "text2img":
            timesteps = pipeline.get_timesteps(steps, sampling["strength"], self._device)[0]
        if sampling.get("refiner"):
            trained = pipeline.scheduler.config["num_train_timesteps"]
            cutoff = round(trained - sampling["refiner"]["high_noise_frac"] * trained)
            return int((timesteps >= cutoff).sum())
        return len(timesteps)

    def notices(self, request: Request) -> list[str]:
        """See `Family.notices`."""
        return []

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """Draws with diffusers' own pipeline, called as a person would call it."""
        self._ready(request)

        def step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            tick()
            return tensors

        result = self._pipeline(
            **self.texts(request),
            **self.options(request),
            **self.pictures(request),
            num_images_per_prompt=request.copies,
            generator=list(generators),
            callback_on_step_end=step_end,
        )
        if isinstance(result.images, Tensor):
            return Drawn([], latents=result.images)
        flags = getattr(result, "nsfw_content_detected", None) or []
        return Drawn(result.images, withheld=tuple(i for i, flag in enumerate(flags) if flag))

    def texts(self, request: Request) -> dict[str, Any]:
        """The prompts and negative prompts, as arguments of the pipeline's call.

        An empty negative prompt is the same as none, which some pipelines take for zeros.
        """
        count = len(request.prompts)
        given = {
            key: [request.sampling[key]] * count
            for key in ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
            if key in self.KEYS and request.sampling.get(key)
        }
        if "negative_prompt" not in given and any(key.startswith("negative") for key in given):
            given["negative_prompt"] = [""] * count
        return {"prompt": list(request.prompts), **given}

    def options(self, request: Request) -> dict[str, Any]:
        """The other arguments of the pipeline's call."""
        arguments = self.arguments(self._task)
        wanted = {key: request.sampling.get(key) for key in OPTIONS if key in self.KEYS and key in arguments}
        options = {key: value for key, value in wanted.items() if value is not None}
        refiner = request.sampling.get("refiner")
        if request.latents is not None:
            options["denoising_start"] = request.sampling["refiner"]["high_noise_frac"]
        elif refiner:
            options |= {"denoising_end": refiner["high_noise_frac"], "output_type": "latent"}
        return options

    def pictures(self, request: Request) -> dict[str, Any]:
        """What drawing starts from, as arguments of the pipeline's call."""
        if request.latents is not None:
            return {"image": request.latents.to(self._device, self._pipeline.dtype)}
        if self._task == "text2img" or request.image is None:
            return {}
        image, sampling = request.image, request.sampling
        if "height" not in self.arguments(self._task) and sampling.get("height") and sampling.get("width"):
            image = self._pipeline.image_processor.resize(image, sampling["height"], sampling["width"])
        return {"image": image} | ({"mask_image": request.mask_image} if self._task == "inpaint" else {})

    def _ready(self, request: Request) -> None:
        """Has the pipeline of this request's task at hand, with a fresh scheduler."""
        task = "img2img" if request.latents is not None else self.task(request.sampling)
        if task != self._task:
            self._task = task
            self._pipeline = self._assembled()
            self._place()
        self._pipeline.scheduler = sampler(self._own, request.sampling.get("scheduler"))

    def _assembled(self) -> Any:
        """The task's pipeline made of this model's parts; none is copied."""
        pipeline = self.PIPELINES[self._task]
        takes = inspect.signature(pipeline.__init__).parameters
        options = {key: value for key, value in self.facts.options.items() if key in takes}
        if "safety_checker" in takes:
            options["requires_safety_checker"] = self._components["safety_checker"] is not None
        parts = {key: part for key, part in self._components.items() if key in takes}
        parts["scheduler"] = sampler(self._components["scheduler"], None)
        made = pipeline(**parts, **options)
        made.set_progress_bar_config(disable=True)
        # The pipeline mends outdated scheduler options; what it then holds is the model's own scheduler.
        self._own = made.scheduler
        return made

    def _place(self) -> None:
        """Puts the pipeline where it computes."""
        compute, pipeline = self._compute, self._pipeline
        if compute["attention_slicing"]:
            pipeline.enable_attention_slicing()
        if compute["vae_slicing"]:
            pipeline.vae.enable_slicing()
        if compute["vae_tiling"]:
            pipeline.vae.enable_tiling()
        match compute["offload"]:
            case "none":
                pipeline.to(self._device)
            case "model":
                pipeline.enable_model_cpu_offload(device=self._device)
            case "sequential":
                pipeline.enable_sequential_cpu_offload(device=self._device)
