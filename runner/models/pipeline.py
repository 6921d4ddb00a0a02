"""What the families that diffusers has pipelines for share: drawing is the pipeline's own call, unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from runner.diffusion.denoise import Tick, ambient
from runner.diffusion.samplers import sampler
from runner.models.described import OPTIONS, T5_TOKENIZER, Described
from runner.models.extras import lay_on
from runner.models.family import DTYPES, Drawn, Facts, Request
from runner.models.fitting import LONGEST, set_timesteps
from runner.models.load_single import load_single
from runner.models.notices import cut_off, stretched, unused
from runner.models.parts import load_parts
from runner.prompts.weighted import Embedded, Encoder, encode

if TYPE_CHECKING:
    from runner.progress import Progress


class PipelineFamily(Described):
    """A model that a diffusers pipeline draws with."""

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
        self._own: Any = None
        self._unused: Any = None
        self._section: dict[str, Any] | None = None
        self._task = next(iter(self.PIPELINES))
        self._pipeline = self._assembled()
        self._tokens = lay_on(self._pipeline, facts, progress)
        for part in self.parts.values():
            part.eval()  # a LoRA's own dropout comes in training mode
        self._place()

    @classmethod
    def toy(cls, folder: Path) -> None:
        """See `Family.toy`."""
        from runner.models import toys

        getattr(toys, cls.family())(folder)

    @classmethod
    def build(
        cls,
        facts: Facts,
        *,
        device: torch.device,
        seed: int,  # noqa: ARG003 - no weight is random
        compute: dict[str, Any],
        progress: Progress,
    ) -> Self:
        """See `Family.build`."""
        dtype = DTYPES[compute["dtype"]]
        parts: dict[str, Any] = dict.fromkeys(cls.PARTS)
        if facts.checkpoint is None:
            parts |= load_parts(facts.parts, progress, dtype=dtype)
        else:
            parts |= load_single(facts, progress, dtype=dtype)
        if facts.schedule is not None:
            parts["scheduler"] = sampler(parts["scheduler"], facts.schedule)
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
        """See `Family.notices`: words that are cut off or missing, a picture that is stretched."""
        found = [*unused(request, self._tokens)]
        found += stretched(request) if request.latents is None else []
        if not self._weighted(request):
            name, limit, mend = self.reader(request)
            found += cut_off(request, self._components[name], limit, mend)
        return found

    def reader(self, request: Request) -> tuple[str, int, str]:
        """The tokenizer whose encoder reads most of a prompt, how many tokens that is, and what to do with more."""
        third = next((name for name in ("tokenizer_3", "tokenizer_2") if self._is_t5(name)), None)
        if third is not None:
            longest = int(request.sampling["max_sequence_length"])
            mend = "max_sequence_length can be up to 512" if longest < LONGEST else "shorten it"
            return third, longest, mend
        name = next(name for name in ("tokenizer", "tokenizer_2") if self._components.get(name) is not None)
        mend = "prompt_syntax: weighted reads all of it" if "prompt_syntax" in self.KEYS else "shorten it"
        return name, int(self._components[name].model_max_length), mend

    def _is_t5(self, name: str) -> bool:
        return self.PARTS.get(name) == T5_TOKENIZER and self._components.get(name) is not None

    def _weighted(self, request: Request) -> bool:
        return "prompt_syntax" in self.KEYS and request.sampling["prompt_syntax"] == "weighted"

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """Draws with diffusers' own pipeline, called as a person would call it."""
        self._ready(request)

        def step_end(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            tick()
            return tensors

        with ambient(generators[0].initial_seed(), self._device), request.kept.of(self, self._pipeline):
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
        if self._weighted(request):
            return self._embedded(request)
        count = len(request.prompts)
        given: dict[str, Any] = {
            key: [request.sampling[key]] * count
            for key in ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
            if key in self.KEYS and request.sampling.get(key)
        }
        if "negative_prompt" not in given and any(key.startswith("negative") for key in given):
            given["negative_prompt"] = [""] * count
        return {"prompt": list(request.prompts), **given}

    def _embedded(self, request: Request) -> dict[str, Any]:
        """Weighted prompts, encoded as embeddings."""
        sampling, count = request.sampling, len(request.prompts)
        several = len(self.ENCODERS) > 1
        second, second_negative = (sampling.get(key) if several else None for key in ("prompt_2", "negative_prompt_2"))
        guided = sampling["guidance_scale"] > 1
        texts: dict[str, Any] = {
            "prompts": request.prompts,
            "negatives": [sampling["negative_prompt"]] * count if guided else None,
            "clip_skip": sampling["clip_skip"],
            "prompts_2": [second] * count if second else None,
            "negatives_2": [second_negative] * count if guided and second_negative else None,
            "force_zeros": bool(self._pipeline.config.get("force_zeros_for_empty_prompt")),
        }
        embedded = request.kept.get(self, repr(texts), lambda: self._encoded(texts))
        return {key: value for key, value in vars(embedded).items() if value is not None}

    def _encoded(self, texts: dict[str, Any]) -> Embedded:
        encoders = [
            Encoder(self._components[name.replace("text_encoder", "tokenizer")], self._components[name], kind)
            for name, kind in self.ENCODERS.items()
        ]
        return encode(encoders, **texts, device=self._pipeline._execution_device)

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
            return {"image": request.latents}
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
        section = request.sampling.get("scheduler")
        if self._unused is None or self._section != section:
            self._section, self._unused = section, sampler(self._own, section)
        self._pipeline.scheduler = deepcopy(self._unused)  # some take long to make

    def _assembled(self) -> Any:
        """The task's pipeline made of this model's parts; none is copied."""
        pipeline = self.PIPELINES[self._task]
        takes = signature(pipeline).parameters
        options = {key: value for key, value in self.facts.options.items() if key in takes}
        if "safety_checker" in takes:
            options["requires_safety_checker"] = self._components.get("safety_checker") is not None
        parts: dict[str, Any] = {key: None for key, one in takes.items() if one.default is one.empty}
        parts |= {key: part for key, part in self._components.items() if key in takes}
        parts["scheduler"] = sampler(self._components["scheduler"], None)
        made = pipeline(**parts, **options)
        made.set_progress_bar_config(disable=True)
        # The pipeline mends outdated scheduler options; what it then holds is the model's own scheduler.
        self._own, self._unused = made.scheduler, None
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
