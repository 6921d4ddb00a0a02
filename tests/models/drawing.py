"""Helpers of the parity tests: the same pictures drawn by a family and by plain diffusers."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

from runner.models import family_class
from runner.models.family import Extra, Request
from runner.models.files import open_files
from runner.models.index import family_of
from runner.models.parts import find_part

PROMPTS = ("a red flower, masterpiece", "the blue house on a tree")
STEPS = 4  # the fewest that PNDM takes
COMPUTE = {"dtype": "fp32", "offload": "none", "attention_slicing": False, "vae_slicing": False, "vae_tiling": False}
_AUTO = ("height", "width", "num_inference_steps", "guidance_scale", "strength", "max_sequence_length")
_PLAIN = {
    **{"negative_prompt": "", "prompt_2": None, "prompt_3": None, "negative_prompt_2": None, "negative_prompt_3": None},
    **{"guidance_rescale": 0.0, "clip_skip": None, "eta": 0.0, "true_cfg_scale": 1.0, "prompt_syntax": "plain"},
    **{"init_image": None, "mask_image": None},
}


class Silent:
    """A display that shows nothing."""

    def warn(self, text):
        raise AssertionError(text)

    @contextmanager
    def bar(self, *arguments, **options):
        yield self

    def advance(self, *arguments, **options):
        pass


def facts_of(files, *, allow_pickle=False):
    """The facts of a model's files (a folder's path will do)."""
    files = files_of(files) if isinstance(files, Path) else files
    family = family_class(family_of(files, "auto"))
    return family.inspect(files, variant=None, allow_pickle=allow_pickle)


def files_of(path):
    return open_files(str(path), base=Path("/"), key="model.id")


def built(facts, *, embeddings=(), loras=(), vae=None, device="cpu", **compute):
    """The family of these facts (or of a folder), with what is laid over it."""
    facts = facts_of(facts) if isinstance(facts, Path) else facts
    if vae is not None:
        part, config = find_part(files_of(vae), "vae", "AutoencoderKL", variant=None, allow_pickle=False, folder="")
        facts = replace(facts, parts={**facts.parts, "vae": part}, configs={**facts.configs, "vae": config})
    facts = replace(facts, embeddings=tuple(embeddings), loras=tuple(loras))
    return family_class(facts.family).build(
        facts, device=torch.device(device), seed=0, compute=COMPUTE | compute, progress=Silent()
    )


def extra(path, **options):
    """An embedding or a LoRA from a file."""
    return Extra(files_of(path.parent), path.name, **options)


def settled(family, facts, **sampling):
    """A `sampling` section of this family with nothing open, small enough for a test."""
    wanted = dict.fromkeys(_AUTO, "auto") | _PLAIN | {"num_inference_steps": STEPS, "prompts": list(PROMPTS)} | sampling
    section = {key: value for key, value in wanted.items() if key in family.KEYS}
    return section | family.defaults(facts, section)


def generators(count):
    return [torch.Generator().manual_seed(5 + i) for i in range(count)]


def ask(family, *, prompts=PROMPTS, copies=1, image=None, mask_image=None, latents=None, **sampling):
    """What a family is asked for."""
    if image is not None:
        sampling["init_image"] = "picture.png"
    if mask_image is not None:
        sampling["mask_image"] = "mask.png"
    section = settled(type(family), family.facts, prompts=list(prompts), **sampling)
    return Request(section, tuple(prompts), copies, image=image, mask_image=mask_image, latents=latents)


def drawn(family, **asked):
    """The pictures that a family draws; it ticks as often as it said."""
    request = ask(family, **asked)
    ticks = []
    noise = generators(len(request.prompts) * request.copies)
    images = family.draw(request, noise, lambda: ticks.append(1)).images
    assert len(ticks) == family.calls(request) > 0
    return images


def theirs(pipeline, *, prompts=PROMPTS, copies=1, **call):
    """The pictures that plain diffusers draws."""
    noise = generators(len(prompts) * copies)
    call = {"num_inference_steps": STEPS, "num_images_per_prompt": copies, **call}
    return pipeline(prompt=list(prompts), generator=noise, **call).images


def load(cls, folder, **options):
    """A pipeline as a person loads it."""
    pipeline = cls.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def scheduler(pipeline, section):
    """The pipeline with another scheduler, made as diffusers documents it."""
    own = pipeline.scheduler
    options = {key: value for key, value in section.items() if key != "type"}
    pipeline.scheduler = getattr(diffusers, f"{section['type']}Scheduler").from_config(own.config, **options)
    try:
        yield pipeline
    finally:
        pipeline.scheduler = own


def assert_same(ours, expected):
    """Byte for byte, and no picture is blank."""
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert one.size == other.size
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert np.asarray(one).std() > 5


def differ(ours, others):
    """Whether no picture of the one list is like its counterpart."""
    return all(not np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, others, strict=True))


def picture(width=64, height=64, seed=3):
    """A picture to start from: soft coloured noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def mask(width=64, height=64):
    """White in the middle."""
    image = Image.new("L", (width, height))
    image.paste(255, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    return image
