"""Memory is kept for the next step on a CPU; where it runs out, that is one sentence and exit code 5."""

import platform
import subprocess
import sys

import pytest

from runner import run, verbs
from runner.cli import main
from runner.memory import ran_out
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_memory_that_is_freed_is_not_asked_for_again():
    """Blocks that are made anew take no page from the system, and go back when they are to."""
    program = """
import ctypes
import resource
from runner.memory import free_memory, keep_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [library.malloc(ctypes.c_size_t(2**24)) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, 2**24)
    for block in reversed(blocks):
        library.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(faults() for _ in range(3)))
keep_memory()
print(min(faults() for _ in range(3)))
free_memory()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    by_itself, kept, freed = map(int, done.stdout.split())
    assert kept < 32 < min(by_itself, freed)  # 128 MiB are 64 pages of 2 MiB at least


@pytest.mark.parametrize("free", [2**20, 2**33])
@pytest.mark.parametrize("words", ["CUBLAS_STATUS_NOT_INITIALIZED when calling", "GET was unable to find an engine"])
def test_what_may_have_other_causes_is_taken_for_it_where_a_gpu_is_full(monkeypatch, words, free):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free, 2**34))
    assert ran_out(RuntimeError(words)) == (free == 2**20)
    assert ran_out(RuntimeError("CUDA out of memory"))
