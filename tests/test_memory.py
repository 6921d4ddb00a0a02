"""Memory that runs out, wherever it does, is one sentence and exit code 5."""

import pytest

from runner import run, verbs
from runner.cli import main
from runner.models import toys
from runner.models.stable_diffusion import StableDiffusion
from runner.training import stage
from runner.training.caches import Caches
from tests.conftest import each
from tests.training.finetune import recipe
from tests.training.finetune import run as command

MACHINE = RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory")
SAMPLING = {"prompts": ["a flower"], "num_images": 1, "num_inference_steps": 1, "height": 32, "width": 32}
PLACES = {  # where it runs out, and what is said to change
    "data": (run, "prepare", "no key of the recipe saves any"),
    "model": (StableDiffusion, "build", "compute.dtype=bf16"),
    "latents": (Caches, "latents", "training.gradient_checkpointing=true"),
    "training": (stage, "train", "training.batch_size=1 training.gradient_accumulation_steps=2"),
    "keeping": (StableDiffusion, "save", "training.gradient_checkpointing=true"),
    "drawing": (StableDiffusion, "draw", "compute.attention_slicing=true"),
}


@pytest.mark.parametrize("place", each(PLACES, few=("data", "training")))
def test_a_machine_without_memory_ends_every_stage_in_a_sentence(here, place, capsys, monkeypatch):
    owner, name, mend = PLACES[place]
    error = MACHINE if place == "training" else MemoryError()
    toys.stable_diffusion(here / "toy")

    def run_out(*_, **__):
        raise error

    monkeypatch.setattr(owner, name, run_out)
    command(recipe(here / "toy", training={"max_train_steps": 1}, sampling=SAMPLING), code=5)
    said = capsys.readouterr().err
    assert "recipe: the machine is out of memory" in said
    assert mend in said
    assert "Traceback" not in said


def test_other_faults_of_torch_are_not_taken_for_it(here, capsys, monkeypatch):
    toys.stable_diffusion(here / "toy")

    def fail(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(stage, "train", fail)
    command(recipe(here / "toy", training={"max_train_steps": 1}), code=70)


def test_a_verb_without_a_run_says_it_too(capsys, monkeypatch):
    def run_out(_):
        raise MemoryError

    monkeypatch.setattr(verbs, "validate", run_out)
    assert main(["validate", "quickstart"]) == 5
    assert "the machine is out of memory" in capsys.readouterr().err
