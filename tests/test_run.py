"""Whole runs by the command, from a recipe to its folder."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DiffusionPipeline, UNet2DModel
from PIL import Image

from runner.cli import main
from runner.outputs import png
from tests.processes import forked

TINY = """\
version: 1
name: tiny
seed: 3
data: {type: builtin, num_images: 12, resolution: 16}
model: {type: pixel_unet, block_out_channels: [16, 16], layers_per_block: 1, norm_num_groups: 8}
scheduler: {type: DDPM, beta_schedule: squaredcos_cap_v2}
training:
  max_train_steps: 6
  batch_size: 4
  learning_rate: 1e-3
  logging_steps: 1
  checkpointing_steps: 2
  sample_steps: 3
  ema: {decay: 0.9}
sampling: {num_images: 3, batch_size: 2, num_inference_steps: 3, noise_preview: [0, 500, 999], trajectory: 3}
"""


PLAINLY = "compute.mixed_precision=fp32"  # as a saved model is drawn from on a CPU


@pytest.fixture
def here(here):
    """The working directory holds the tiny recipe."""
    (here / "tiny.yaml").write_text(TINY)
    return here


def recipe(*arguments):
    """The command in this process: its exit code."""
    return main([*arguments])


def pixels(path):
    return np.asarray(Image.open(path))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["learning_rate"], line["grad_norm"]) for line in lines]


def tensors(folder):
    return UNet2DModel.from_pretrained(folder / "model" / "unet").state_dict()


def test_a_run_leaves_a_whole_folder(here, capsys):
    assert recipe("run", "tiny.yaml") == 0
    out = capsys.readouterr().out
    run = here / "outputs" / "tiny" / "001"
    assert "outputs/tiny/001/samples/grid.png" in out
    assert set(names(run)) >= {
        "checkpoints",
        "log.jsonl",
        "model",
        "recipe.yaml",
        "run.json",
        "samples",
        "settled.yaml",
    }
    assert names(run / "checkpoints") == ["step-000004", "step-000006"]
    wanted = ["00000.png", "00001.png", "00002.png", "grid.png", "noise_preview.png", "progress.gif"]
    assert names(run / "samples") == [*wanted, "step-000003.png", "step-000006.png", "trajectory.png"]
    assert (here / "outputs" / "tiny" / "latest").resolve() == run
    assert [line[0] for line in log(run)] == [1, 2, 3, 4, 5, 6]
    assert json.loads((run / "run.json").read_text())["state"] == "done"
    assert (run / "recipe.yaml").read_text().strip() == TINY.strip()
    assert pixels(run / "samples" / "00000.png").shape == (16, 16, 3)
    assert Image.open(run / "samples" / "progress.gif").n_frames == 2


def test_a_picture_carries_its_recipe_and_draws_itself_again(here, capsys):
    assert recipe("run", "tiny.yaml") == 0
    run = here / "outputs" / "tiny" / "001"
    picture = run / "samples" / "00001.png"
    assert png.read(picture)["seed"] == "4"
    capsys.readouterr()
    assert recipe("show", str(picture)) == 0
    shown = capsys.readouterr().out
    assert recipe("show", str(run)) == 0
    assert shown == capsys.readouterr().out
    assert recipe("diff", str(picture), str(run)) == 0
    assert "identical" in capsys.readouterr().out
    assert recipe("run", str(run)) == 0
    again = here / "outputs" / "tiny" / "002"
    for name in names(run / "samples"):
        assert (again / "samples" / name).read_bytes() == (run / "samples" / name).read_bytes(), name
    assert log(again) == log(run)


def test_the_model_draws_in_plain_diffusers_what_the_run_drew(here):
    assert recipe("run", "tiny.yaml", "sampling.batch_size=1", PLAINLY) == 0
    run = here / "outputs" / "tiny" / "001"
    pipeline = DiffusionPipeline.from_pretrained(run / "model")
    assert isinstance(pipeline, DDPMPipeline)
    pipeline.set_progress_bar_config(disable=True)
    for j in range(3):
        theirs = pipeline(generator=torch.Generator().manual_seed(3 + j), num_inference_steps=3).images[0]
        assert np.array_equal(np.asarray(theirs), pixels(run / "samples" / f"{j:05d}.png"))


def test_a_trained_model_is_sampled_by_a_recipe(here):
    assert recipe("run", "tiny.yaml", PLAINLY) == 0
    sample = "version: 1\nname: drawn\nseed: 3\nmodel: {type: pretrained, id: ./outputs/tiny/latest/model}\n"
    (here / "draw.yaml").write_text(sample + "sampling: {num_images: 3, batch_size: 2, num_inference_steps: 3}\n")
    assert recipe("run", "draw.yaml") == 0
    for j in range(3):
        theirs = here / "outputs" / "tiny" / "001" / "samples" / f"{j:05d}.png"
        assert np.array_equal(pixels(here / "outputs" / "drawn" / "001" / "samples" / f"{j:05d}.png"), pixels(theirs))


def test_classes_and_guidance(here):
    overrides = ["model.num_class_embeds=auto", "sampling.guidance_scale=2", "sampling.labels=[rose, tulip]"]
    assert recipe("run", "tiny.yaml", *overrides) == 0
    run = here / "outputs" / "tiny" / "001"
    assert [png.read(run / "samples" / f"{j:05d}.png")["label"] for j in range(3)] == ["rose", "tulip", "rose"]
    assert json.loads((run / "model" / "labels.json").read_text())[0] == "tulip"


def test_an_unknown_class_is_a_problem_with_its_place(here, capsys):
    assert recipe("run", "tiny.yaml", "model.num_class_embeds=auto", "sampling.labels=[rose, cactus]") == 1
    err = capsys.readouterr().err
    assert re.search(r"command line:2:\d+: no class 'cactus'", err)
    assert "rose" in err


def test_fp16_on_a_cpu_is_a_problem_with_its_line(here, capsys):
    (here / "half.yaml").write_text(TINY + "compute:\n  device: auto\n  mixed_precision: fp16\n")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert recipe("run", "half.yaml") == 1
    assert re.search(r"half.yaml:18:20: fp16 needs a GPU.*\[fp16-on-cpu\]", capsys.readouterr().err)
    assert not (here / "outputs").exists()


def test_a_dry_run_writes_nothing_and_counts(here, capsys):
    assert recipe("run", "tiny.yaml", "--dry-run") == 0
    out = capsys.readouterr().out
    assert re.search(r"training\s+6 steps, 24 images seen, 2.0 epochs", out)
    assert not (here / "outputs").exists()
    assert recipe("run", "tiny.yaml", "--dry-run", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["training"]["steps"] == 6


def test_the_dry_run_names_the_files_that_the_run_writes(here, capsys):
    assert recipe("run", "tiny.yaml", "--dry-run") == 0
    planned = capsys.readouterr().out
    assert recipe("run", "tiny.yaml") == 0
    run = here / "outputs" / "tiny" / "001"
    for name in ("samples/noise_preview.png", "samples/grid.png", "samples/trajectory.png", "model/", "log.jsonl"):
        assert name in planned
        assert (run / name).exists()


def test_smoke_rehearses_without_touching_the_real_runs(here):
    assert recipe("run", "tiny.yaml", "--smoke") == 0
    assert names(here / "outputs") == ["tiny-smoke"]


def test_smoke_needs_no_pretrained_model(here):
    sample = "version: 1\nname: drawn\nmodel: {type: pretrained, id: ./not/here}\nsampling: {num_images: 30}\n"
    (here / "draw.yaml").write_text(sample)
    assert recipe("run", "draw.yaml", "--smoke") == 0
    assert len(list((here / "outputs" / "drawn-smoke" / "001" / "samples").glob("0*.png"))) == 2
    assert recipe("run", "draw.yaml") == 4


def test_a_changed_recipe_is_a_new_run_and_a_finished_one_is_repeated(here):
    assert recipe("run", "tiny.yaml") == 0
    assert recipe("run", "tiny.yaml") == 0
    assert recipe("run", "tiny.yaml", "training.max_train_steps=4") == 0
    assert names(here / "outputs" / "tiny") == ["001", "002", "003", "latest"]


def killed_at(path, here, *arguments):
    """The command, which dies as soon as it has made this."""
    with forked(here, "run", "tiny.yaml", *arguments) as process:
        process.wait_for(path)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_saves_the_step_and_the_same_command_goes_on(here, name, code):
    longer = ["training.max_train_steps=48", "training.checkpointing_steps=null", "training.sample_steps=null"]
    run = here / "outputs" / "tiny" / "001"
    with forked(here, "run", "tiny.yaml", *longer) as process:
        process.wait_for(run / "log.jsonl")
        process.send_signal(getattr(signal, name))
        assert process.wait() == code, process.said
        err = process.said
    step = int(re.search(r"at step (\d+) of 48, its state is saved", err)[1])
    assert 1 <= step < 48
    assert "the same command goes on" in err
    assert names(run / "checkpoints") == [f"step-{step:06d}"]
    assert json.loads((run / "run.json").read_text())["state"] == "interrupted"
    assert recipe("run", "tiny.yaml", *longer) == 0
    assert names(here / "outputs" / "tiny") == ["001", "latest"]
    assert recipe("run", "tiny.yaml", *longer) == 0
    whole = here / "outputs" / "tiny" / "002"
    assert log(whole) == log(run)
    for key, tensor in tensors(whole).items():
        assert torch.equal(tensor, tensors(run)[key]), key


def test_an_interrupted_run_is_found_behind_a_later_one(here):
    longer = ["training.max_train_steps=48", "training.sample_steps=null"]
    killed_at(here / "outputs" / "tiny" / "001" / "checkpoints" / "step-000004", here, *longer)
    assert recipe("run", "tiny.yaml") == 0
    assert recipe("run", "tiny.yaml", *longer) == 0
    assert names(here / "outputs" / "tiny") == ["001", "002", "latest"]
    assert log(here / "outputs" / "tiny" / "001")[-1][0] == 48


def test_training_alone_needs_no_sampling(here):
    assert recipe("run", "tiny.yaml", "sampling=null", "training.sample_steps=null") == 0
    assert names(here / "outputs" / "tiny" / "001" / "model") == ["README.md", "model_index.json", "scheduler", "unet"]


def test_a_kill_loses_no_more_than_the_last_checkpoint(here):
    longer = ["training.max_train_steps=24", "training.checkpointing_steps=5", "training.sample_steps=null"]
    killed_at(here / "outputs" / "tiny" / "001" / "checkpoints" / "step-000010", here, *longer)
    assert recipe("run", "tiny.yaml", *longer) == 0
    assert recipe("run", "tiny.yaml", "--fresh", *longer) == 0
    first, second = (here / "outputs" / "tiny" / number for number in ("001", "002"))
    assert log(first) == log(second)
    assert (first / "samples" / "grid.png").read_bytes() == (second / "samples" / "grid.png").read_bytes()


def test_a_run_does_not_go_on_with_other_pictures(here, capsys):
    (here / "mine").mkdir()
    for i in range(6):
        Image.new("RGB", (20, 20), (40 * i, 99, 200)).save(here / "mine" / f"{i}.png")
    longer = ["data.type=folder", "data.id=./mine", "training.max_train_steps=48", "training.sample_steps=null"]
    killed_at(here / "outputs" / "tiny" / "001" / "checkpoints" / "step-000004", here, *longer)
    (here / "mine" / "3.png").rename(here / "away.png")
    assert recipe("run", "tiny.yaml", *longer) == 3
    assert "the data differ from what the run began with: 1 removed (3.png): put them back" in capsys.readouterr().err
    (here / "away.png").rename(here / "mine" / "3.png")
    assert recipe("run", "tiny.yaml", *longer) == 0
    assert names(here / "outputs" / "tiny") == ["001", "latest"]


def test_damage_in_every_checkpoint_ends_with_7(here, capsys):
    longer = ["training.max_train_steps=24", "training.checkpointing_steps=5", "training.sample_steps=null"]
    checkpoints = here / "outputs" / "tiny" / "001" / "checkpoints"
    killed_at(checkpoints / "step-000010", here, *longer)
    for path in checkpoints.glob("step-*/parameters.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert recipe("run", "tiny.yaml", *longer) == 7
    assert "--fresh" in capsys.readouterr().err


def test_a_diverging_run_ends_with_8_and_keeps_its_checkpoints(here, capsys):
    options = ["training.learning_rate=50", "training.max_grad_norm=null", "training.optimizer={type: sgd}"]
    assert recipe("run", "tiny.yaml", *options, "training.max_train_steps=60", "training.sample_steps=null") == 8
    assert re.search(r"the loss became (nan|inf) at step \d+", capsys.readouterr().err)
    assert names(here / "outputs" / "tiny" / "001" / "checkpoints")


def test_no_network_is_one_sentence(here, capsys):
    hub = TINY.replace("{type: builtin, num_images: 12, resolution: 16}", "{type: hub, id: nelorth/oxford-flowers}")
    (here / "hub.yaml").write_text(hub)
    assert recipe("run", "hub.yaml", "--offline") == 5
    err = capsys.readouterr().err
    assert "--smoke" in err
    assert "Traceback" not in err
