"""What every model family offers: the doors through which training and sampling use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import torch
from PIL import Image
from torch import Tensor, nn

from runner.diffusion.denoise import Tick
from runner.models.files import Files
from runner.prompts.kept import Kept

if TYPE_CHECKING:
    from runner.progress import Progress

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes of a number

COMMON = frozenset({"num_images", "batch_size", "num_inference_steps", "seed", "seeds", "scheduler", "matrix"})
"""The keys of `sampling` that mean something to every family."""


@dataclass(frozen=True)
class Part:
    """Where one part of a saved model comes from.

    Attributes:
        cls: its class, one that the family allows, such as UNet2DConditionModel.
        files: what holds it.
        folder: its folder below the root of `files`, '' for the root itself.
        names: the files that loading it needs, relative to the root.
        variant: fp16 for unet/diffusion_pytorch_model.fp16.safetensors; None for the plain names.
    """

    cls: str
    files: Files
    folder: str
    names: tuple[str, ...]
    variant: str | None = None


@dataclass(frozen=True)
class Extra:
    """An embedding or a LoRA laid over a model.

    Attributes:
        files, name: the file that holds it.
        token: the word that calls an embedding; None for a LoRA, or where the file's own is taken.
        weight: how strongly a LoRA works.
    """

    files: Files
    name: str
    token: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Facts:
    """What is known of a model from its recipe, or from its configuration files and headers, without its weights.

    Attributes:
        family: the file under runner/models/ that builds it.
        configs: the constructor arguments of each part, by part name.
        classes: the class names that it was told about, in the order of their embeddings.
        parts: where its weights lie, by part name; empty for random weights.
        pipeline: the class that model_index.json names, '' for random weights.
        options: the plain values of model_index.json, such as force_zeros_for_empty_prompt.
        checkpoint: the single file that holds the weights of the parts which name no weights themselves.
        embeddings, loras: what is laid over it.
        schedule: the `scheduler` section that a recipe trains it with, where that is not its own.
        texts: the captions that a tokenizer is made from, where a recipe builds one.
    """

    family: str
    configs: dict[str, dict[str, Any]]
    classes: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    pipeline: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Part | None = None
    embeddings: tuple[Extra, ...] = ()
    loras: tuple[Extra, ...] = ()
    schedule: dict[str, Any] | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """Pictures to draw together.

    Attributes:
        sampling: the settled `sampling` section, with one value for each key of its matrix.
        prompts: each is drawn `copies` times in a row; empty for models without text.
        labels: a class index per picture, or None.
        image, mask_image: the picture to start from and the part of it to repaint (white), or None.
        latents: what a base model handed on, one row per picture, for a refiner to end; else None.
        kept: what the texts of requests before became, where the model has not learned since.
    """

    sampling: dict[str, Any]
    prompts: tuple[str, ...] = ()
    copies: int = 1
    labels: list[int] | None = None
    image: Image.Image | None = None
    mask_image: Image.Image | None = None
    latents: Tensor | None = None
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True)
class Drawn:
    """Pictures in the order asked for.

    Attributes:
        images: empty where `latents` are handed on instead, (B, C, h, w).
        moments: for each picture the kept moments of its denoising, noise first.
        withheld: the places of pictures that the safety checker made black.
    """

    images: list[Image.Image]
    moments: list[list[Image.Image]] = field(default_factory=list)
    withheld: tuple[int, ...] = ()
    latents: Tensor | None = None


class Misfit(NamedTuple):
    """A key of `sampling` (steps with dots, as 'scheduler.type') that does not fit the model: rule name, sentence."""

    key: str
    rule: str
    message: str


class Family(Protocol):
    """A model that can be drawn from."""

    KEYS: ClassVar[frozenset[str]]
    """The keys of a recipe's `sampling` that mean something to this family."""

    GPU_DTYPE: ClassVar[str]
    """The number format of a saved model's weights on a GPU where the recipe says auto."""

    parts: dict[str, nn.Module]
    facts: Facts

    @classmethod
    def inspect(cls, files: Files, *, variant: str | None, allow_pickle: bool) -> Facts:
        """The facts of a saved model, without its weights.

        Raises:
            ModelError: a file is missing, broken, of another class, or describes no model that can be built.
            Refused: only pickles hold its weights and they are not allowed.
        """
        ...

    @classmethod
    def defaults(cls, facts: Facts, sampling: dict[str, Any]) -> dict[str, Any]:
        """A value for each key of this `sampling` section that is `auto`: what diffusers' own pipeline takes."""
        ...

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        """What of a settled `sampling` section this model cannot do."""
        ...

    @classmethod
    def skeletons(cls, facts: Facts) -> dict[str, nn.Module]:
        """Its parts without memory for their weights (torch's meta device), the denoiser first."""
        ...

    @classmethod
    def rehearse(cls, denoiser: Any, facts: Facts, sampling: dict[str, Any] | None) -> Tensor:
        """The denoiser's output for one picture of the size that `sampling` asks for, on the denoiser's device."""
        ...

    @classmethod
    def rehearse_decoding(cls, parts: dict[str, Any], facts: Facts, sampling: dict[str, Any]) -> Tensor:
        """One picture out of what the denoiser works on, by these parts (as `skeletons` gives them)."""
        ...

    @classmethod
    def toy(cls, folder: Path) -> None:
        """Saves a tiny model with random weights, which stands in for a pretrained one in a rehearsal."""
        ...

    @classmethod
    def build(
        cls, facts: Facts, *, device: torch.device, seed: int, compute: dict[str, Any], progress: Progress
    ) -> Self:
        """The model on `device`: its files' weights (downloaded where needed), or random ones that follow from `seed`.

        `compute` is the settled section: number format, offloading, slicing.

        Raises:
            ModelError: a file is damaged, lacks tensors, has surplus ones, or holds NaN.
            EnvironmentFault: the hub, the disk or the memory.
        """
        ...

    def calls(self, request: Request) -> int:
        """How often `draw` ticks for one request: some samplers take two steps in one, img2img skips some."""
        ...

    def notices(self, request: Request) -> list[str]:
        """What a person should know before this is drawn: words of a prompt that are cut off."""
        ...

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """One picture per generator; `tick` is called after each denoising step."""
        ...
