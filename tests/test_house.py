"""The house's own rules: imports point down the line, and schemas and builders name the same keys."""

import ast
import inspect
import json
from pathlib import Path

import diffusers
import pytest
import transformers

from runner import shipped_files
from runner.data.builtin import Builtin
from runner.data.folder import Folder
from runner.data.hub import open_hub
from runner.methods import lora
from runner.models import FAMILIES, autoencoder_kl, family_class, latent_unet
from runner.models.family import COMMON

RUNNER = Path(__file__).parents[1] / "runner"
# From the bottom of the line to its top; a module may import what stands in its own row or above it in this list.
LINE = [
    ["errors", "secrets", "shown", "tally", "view", "shipped_files", "places", "processor"],
    ["language", "progress"],
    ["outputs", "signals", "doctor", "memory", "processes"],
    ["hub", "changes"],
    ["data"],
    ["diffusion.schedules", "diffusion.samplers", "diffusion.denoise", "prompts"],
    ["models"],
    ["diffusion.objectives", "methods", "sampling", "captioning"],
    ["training", "engine"],
    ["settle", "smoke"],
    ["plan", "look"],
    ["run", "going_on"],
    ["job", "find"],
    ["verbs"],
    ["cli"],
]


def rank(module):
    """The row of 'runner.data.cache' in the line."""
    name = module.removeprefix("runner.") + "."
    return next((i for i, row in enumerate(LINE) if any(name.startswith(f"{room}.") for room in row)), None)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("runner"):
            whole = node.module != "runner"
            yield from [node.module] if whole else [f"runner.{alias.name}" for alias in node.names]


@pytest.mark.parametrize("path", sorted(RUNNER.rglob("*.py")), ids=lambda p: str(p.relative_to(RUNNER)))
def test_imports_point_down_the_line(path):
    module = ".".join(path.relative_to(RUNNER.parent).with_suffix("").parts)
    imported_here = [name for name in imports(path) if name != "runner.__version__"]
    if not imported_here or path.name == "__main__.py":
        return
    here = rank(module.removesuffix(".__init__"))
    assert here is not None, f"{module} has no place in the line"
    for imported in imported_here:
        assert rank(imported) is not None, imported
        assert rank(imported) <= here, f"{module} imports {imported}, which stands above it"


def keys(file):
    return set(json.loads((shipped_files.folder("schemas") / file).read_text("utf-8"))["properties"])


def takes(builder):
    return set(inspect.signature(builder).parameters) - {"self"}


def test_every_key_of_the_pixel_unet_is_an_argument_of_diffusers_own():
    ours = keys("model/pixel_unet.json") - {"type"}
    assert ours <= takes(diffusers.UNet2DModel.__init__)


def test_every_key_of_the_latent_models_reaches_a_part_that_takes_it():
    vae = keys("model/autoencoder_kl.json") - {"type"}
    assert vae == set(autoencoder_kl.KEYS) <= takes(diffusers.AutoencoderKL.__init__)
    unet, text = set(latent_unet.UNET_KEYS), set(latent_unet.TEXT_KEYS)
    assert keys("model/latent_unet.json") - {"type", "vae"} == unet | text
    assert unet <= takes(diffusers.UNet2DConditionModel.__init__)
    assert text <= takes(transformers.CLIPTextConfig.__init__)


def test_every_key_of_a_lora_is_an_option_of_pefts_or_says_where_it_lies():
    section = dict.fromkeys(keys("adapter/lora.json"), 1) | {"target_modules": ["to_q"]}
    assert lora.config(section, ["to_q"]).r == 1
    assert keys("adapter/lora.json") - {"type", "parts", "target_modules"} == {"rank", "alpha", "dropout", "use_dora"}


def test_the_noise_schedule_names_all_that_the_scheduler_takes():
    assert keys("scheduler/noise.json") - {"type"} == takes(diffusers.DDPMScheduler.__init__) - {"trained_betas"}


SAMPLERS = sorted(path.stem for path in (shipped_files.folder("schemas") / "scheduler").glob("[A-Z]*.json"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_of_a_sampler_is_an_argument_of_its_class(name):
    assert keys(f"scheduler/{name}.json") - {"type"} <= takes(getattr(diffusers, f"{name}Scheduler").__init__)


@pytest.mark.parametrize(("file", "builder"), [("builtin", Builtin), ("folder", Folder), ("hub", open_hub)])
def test_a_source_takes_keys_of_its_fragment_without_defaults(file, builder):
    parameters = inspect.signature(builder).parameters
    assert set(parameters) - {"offline"} <= keys(f"data/{file}.json")
    assert all(p.default is p.empty and p.kind is p.KEYWORD_ONLY for p in parameters.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_keys_of_a_family_are_those_of_the_schema(name):
    assert keys("sampling/pretrained.json") >= family_class(name).KEYS
    assert family_class(name).KEYS & COMMON == COMMON


def test_every_key_of_sampling_means_something_to_a_family():
    assert keys("sampling/pretrained.json") == set().union(*(family_class(name).KEYS for name in FAMILIES))
    assert set(keys("sampling/matrix.json")) < keys("sampling/pretrained.json")


def test_the_schema_names_the_families_that_there_are():
    schema = json.loads((shipped_files.folder("schemas") / "model/pretrained.json").read_text("utf-8"))
    assert set(schema["properties"]["family"]["enum"]) == {"auto", *FAMILIES}
