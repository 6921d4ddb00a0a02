"""A saved model that diffusers has a pipeline for, as its files describe it: what is known before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from runner.diffusion.samplers import SCHEDULERS, saved_scheduler
from runner.errors import ModelError
from runner.language.rules_flow import FLOW_SOLVERS
from runner.models.classes import kind_of
from runner.models.family import COMMON, Facts, Misfit
from runner.models.files import Files
from runner.models.fitting import misfits
from runner.models.index import read_index
from runner.models.parts import find_part, skeleton
from runner.models.single_file import Checkpoint
from runner.shown import shown

PROMPTED = COMMON | {"prompts", "negative_prompt", "height", "width", "guidance_scale"}
FROM_IMAGE = frozenset({"init_image", "mask_image", "strength"})
"""The keys of `sampling` that mean something to every family of this kind."""

TOKENIZER = ("CLIPTokenizer", "CLIPTokenizerFast")
T5_TOKENIZER = ("T5Tokenizer", "T5TokenizerFast")
FLOW = frozenset({"FlowMatchEulerDiscrete"}) | FLOW_SOLVERS
DISCRETE = frozenset(name.removesuffix("Scheduler") for name in SCHEDULERS) - {"FlowMatchEulerDiscrete"}
"""The samplers of models that predict a flow, and those of models that predict noise or velocity."""

OPTIONS = (
    *("height", "width", "num_inference_steps", "guidance_scale", "guidance_rescale", "true_cfg_scale"),
    *("clip_skip", "eta", "strength", "max_sequence_length"),
)
"""The keys of `sampling` that are arguments of a pipeline's call."""

Layer = Literal["sd", "sdxl-1", "sdxl-2"]
"""How a pipeline chooses the layer of a text encoder; see `runner.prompts.weighted.Encoder`."""


class Described:
    """A model of a family as its files describe it; each family says which pipelines and parts it has."""

    KEYS: ClassVar[frozenset[str]]
    GPU_DTYPE: ClassVar[str] = "fp16"
    PIPELINES: ClassVar[dict[str, Any]]
    """Task (text2img, img2img, inpaint) -> diffusers' pipeline class; the first one is the model's own."""
    PARTS: ClassVar[dict[str, tuple[str, ...]]]
    """Part -> the classes that it may be of, the denoiser first."""
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """The parts that a model may do without."""
    ENCODERS: ClassVar[dict[str, Layer]] = {}
    """The text encoders that weighted prompts go to, and how their layers are chosen."""
    SCHEDULERS: ClassVar[frozenset[str]]
    """The samplers, as `scheduler.type` names them, that its kind of noise can be drawn with."""
    GIVES_SHIFT: ClassVar[bool] = False
    """Whether its pipelines hand every scheduler a shift for the picture's size."""
    SIDE: ClassVar[int] = 8
    """The sides of a picture are multiples of this many pixels."""
    OWN_SKIP: ClassVar[int] = 0
    """How many of the text encoder's last layers its pipelines leave out without being asked."""

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
        cls.check(configs, shown(files.origin))
        return Facts(
            cls.family(),
            configs,
            parts=parts,
            pipeline=index.pipeline,
            options=index.options,
            checkpoint=files.part if isinstance(files, Checkpoint) else None,
        )

    @classmethod
    def family(cls) -> str:
        """The name of the file that holds it."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def check(cls, configs: dict[str, dict[str, Any]], where: str) -> None:
        """Looks whether the configurations make a model of this family; that each part can be built is known.

        Raises:
            ModelError: they do not.
        """
        try:
            saved_scheduler(configs["scheduler"])
        except Exception as error:  # diffusers raises nearly anything on values it cannot build from
            raise ModelError(
                f"{where} has a scheduler_config.json that builds no scheduler ({type(error).__name__}): "
                "get the file again, or choose another model"
            ) from None

    @classmethod
    def task(cls, sampling: dict[str, Any]) -> str:
        """Which of the pipelines draws what this section asks for."""
        if sampling.get("init_image") is None:
            return next(iter(cls.PIPELINES))
        return "img2img" if sampling.get("mask_image") is None else "inpaint"

    @classmethod
    def arguments(cls, task: str) -> Mapping[str, Parameter]:
        """The arguments of the call of a task's pipeline, by name."""
        return signature(cls.PIPELINES[task].__call__).parameters

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
        height, width = cls._latent_size(facts, sampling)
        guided = sampling is not None and (sampling.get("guidance_scale") or 0) > 1
        return cls.forward(denoiser, 2 if guided else 1, height, width)

    @classmethod
    def rehearse_decoding(cls, parts: dict[str, Any], facts: Facts, sampling: dict[str, Any]) -> Tensor:
        """See `Family.rehearse_decoding`."""
        vae = parts["vae"]
        shape = (1, vae.config["latent_channels"], *cls._latent_size(facts, sampling))
        return vae.decode(torch.zeros(shape, device=vae.device), return_dict=False)[0]

    @classmethod
    def _latent_size(cls, facts: Facts, sampling: dict[str, Any] | None) -> tuple[int, int]:
        """Height and width in latents of the pictures that are asked for."""
        height, width = cls.sample_size(facts)
        if sampling is not None:
            height, width = sampling.get("height") or height, sampling.get("width") or width
        factor = cls.vae_scale_factor(facts)
        return height // factor, width // factor

    @classmethod
    def forward(cls, denoiser: Any, batch: int, height: int, width: int) -> Tensor:
        """The denoiser's output for latents of this size and as much text as it reads."""
        raise NotImplementedError
