"""What a verb imports, which is what it waits for when it starts."""

import json
import subprocess
import sys

import pytest

SEEN = """
import json, sys
from runner.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""
BUILT = {"jsonschema", "yaml"}  # a tenth of a second, for whoever reads a recipe
HEAVY = {"torch", "diffusers", "transformers", "numpy", "PIL", "rich", "accelerate", "datasets", "huggingface_hub"}
TINY = {
    "version": 1,
    "name": "one",
    "model": {"type": "pixel_unet", "block_out_channels": [8, 8], "norm_num_groups": 4, "layers_per_block": 1},
    "scheduler": {"type": "DDPM"},
    "training": {"max_train_steps": 1, "batch_size": 2},
    "sampling": {"num_images": 1, "num_inference_steps": 1},
}


def imported(*arguments, cwd=None):
    """The modules of a process that did this, which ended well."""
    done = subprocess.run([sys.executable, "-c", SEEN, *arguments], capture_output=True, text=True, cwd=cwd)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert not code, done.stderr
    return set(modules)


@pytest.mark.parametrize("words", ["--help", "run --help", "ls", "schema", "schema training.ema"])
def test_what_reads_no_recipe_imports_what_checks_none(words):
    assert not imported(*words.split()) & (HEAVY | BUILT)


@pytest.mark.parametrize("words", ["validate quickstart sd_lora", "show sd_lora", "diff tiny_lora sd_lora"])
def test_what_reads_a_recipe_imports_nothing_that_runs_one(words):
    assert not imported(*words.split()) & HEAVY


@pytest.fixture
def folder(tmp_path):
    """One with a recipe, one.yaml, and its pictures."""
    from runner.data.builtin import draw, scene

    (tmp_path / "pictures").mkdir()
    for number in range(2):
        draw(scene(number), 8).save(tmp_path / "pictures" / f"{number}.png")
    recipe = {**TINY, "data": {"type": "folder", "id": "./pictures", "resolution": 8}}
    (tmp_path / "one.yaml").write_text(json.dumps(recipe), "utf-8")
    return tmp_path


def test_a_look_at_pictures_imports_no_model(folder):
    modules = imported("data", "one.yaml", "--quiet", "--cache-dir", "cache", cwd=folder)
    assert "PIL.Image" in modules
    assert not modules & (HEAVY - {"numpy", "PIL"})


def test_a_run_on_a_folder_imports_what_it_needs_and_no_more(folder):
    """peft and transformers are not named: diffusers imports them with any model of its own."""
    modules = imported("run", "one.yaml", "--quiet", "--offline", "--cache-dir", "cache", cwd=folder)
    assert "runner.training.loop" in modules and "runner.data.folder" in modules
    assert not modules & {"datasets", "pandas", "pyarrow", "compel", "bitsandbytes", "runner.data.hub"}
    assert not [name for name in modules if name.startswith(("runner.captioning.model", "runner.smoke"))]
    assert not [name for name in modules if name.startswith("diffusers.pipelines.stable_diffusion")]
