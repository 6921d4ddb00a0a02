"""Drawing with models that exist, by the command: what is drawn, what is kept, what is said."""

import gc
import inspect
import json
import re
import signal
import sys

import numpy as np
import pytest
import torch
import yaml
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers import StableDiffusionXLImg2ImgPipeline as Refiner
from PIL import Image

from runner.cli import main
from runner.models import toys
from runner.models.sdxl_refiner import SDXLRefiner
from runner.outputs import png
from tests.processes import forked

SMALL = "num_inference_steps: 3, height: 32, width: 32"
PICTURES = "samples/*[0-9].png"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Toys of several families, saved once."""
    folder = tmp_path_factory.mktemp("models")
    for family in ("stable_diffusion", "stable_diffusion_xl", "sdxl_refiner", "stable_diffusion_3"):
        getattr(toys, family)(folder / family)
    toys.stable_diffusion(folder / "checked", safety_checker=True)
    return folder


@pytest.fixture
def write(here, models):
    """Writes draw.yaml for one of the models."""

    def write(sampling, family="stable_diffusion", more="", model=""):
        text = f"version: 1\nname: drawn\nseed: 4\nmodel: {{type: pretrained, id: {models / family}{model}}}\n"
        (here / "draw.yaml").write_text(f"{text}{more}sampling: {{{sampling}}}\n")
        return here / "outputs" / "drawn" / "001"

    return write


def recipe(*arguments):
    """The command in this process: its exit code."""
    return main([*arguments])


def pixels(path):
    return np.asarray(Image.open(path))


def drawn(run):
    return [pixels(path) for path in sorted(run.glob(PICTURES))]


def plain(cls, folder):
    pipeline = cls.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_pictures_are_those_of_plain_diffusers(write, models):
    more = "scheduler: {type: DPMSolverMultistep, use_karras_sigmas: true}\n"
    run = write(
        f"prompts: [a red flower, the sky], num_images: 3, batch_size: 2, negative_prompt: cat, {SMALL}", more=more
    )
    assert recipe("run", "draw.yaml") == 0
    theirs = plain(StableDiffusionPipeline, models / "stable_diffusion")
    theirs.scheduler = DPMSolverMultistepScheduler.from_config(theirs.scheduler.config, use_karras_sigmas=True)
    wanted = []
    for prompt in ("a red flower", "the sky"):
        for seeds in ((4, 5), (6,)):
            options = {"num_inference_steps": 3, "height": 32, "width": 32, "negative_prompt": "cat"}
            copies = {"num_images_per_prompt": len(seeds), "generator": noise(*seeds)}
            wanted += theirs(prompt, **options, **copies).images
    assert len(drawn(run)) == len(wanted) == 6
    for ours, other in zip(drawn(run), wanted, strict=True):
        assert np.array_equal(ours, np.asarray(other))


def test_a_run_is_repeated_from_its_folder_and_its_pictures(write, models, capsys):
    run = write(f"prompts: [a red flower], negative_prompt: cat, num_images: 2, {SMALL}", model=", variant: null")
    assert recipe("run", "draw.yaml") == 0
    settled = (run / "settled.yaml").read_text()
    assert "auto" not in settled
    assert "guidance_scale: 7.5" in settled
    assert "type: PNDM" in settled
    assert recipe("run", str(run)) == 0
    again = run.parent / "002"
    for path in run.glob("samples/*.png"):
        assert path.read_bytes() == (again / "samples" / path.name).read_bytes()
    capsys.readouterr()
    assert recipe("diff", str(run), str(again)) == 0
    assert capsys.readouterr().out == "identical\n"
    texts = png.read(run / "samples" / "00001.png")
    assert texts["seed"] == "5"
    assert texts["parameters"].startswith("a red flower\nNegative prompt: cat\nSteps: 3, ")
    assert "Seed: 5, Size: 32x32" in texts["parameters"]
    assert "Sampler: PLMS" in texts["parameters"]
    assert str(models / "stable_diffusion") in texts["recipe"]


def test_the_refiner_ends_what_the_base_began(write, models, capsys):
    run = write(
        f"prompts: [a red flower], num_images: 2, num_inference_steps: 5, height: 32, width: 32, "
        f"refiner: {{id: {models / 'sdxl_refiner'}, high_noise_frac: 0.6}}",
        "stable_diffusion_xl",
    )
    assert recipe("run", "draw.yaml") == 0
    base, refiner = (
        plain(StableDiffusionXLPipeline, models / "stable_diffusion_xl"),
        plain(Refiner, models / "sdxl_refiner"),
    )
    for j, ours in enumerate(drawn(run)):
        (generator,) = noise(4 + j)
        options = {"num_inference_steps": 5, "generator": generator}
        latents = base("a red flower", height=32, width=32, denoising_end=0.6, output_type="latent", **options).images
        theirs = refiner("a red flower", image=latents, denoising_start=0.6, **options).images[0]
        assert np.array_equal(ours, np.asarray(theirs))
    assert len(drawn(run)) == 2
    said = capsys.readouterr().err
    assert said.index("Sampling") < said.index("Refining")


def test_the_base_is_freed_before_the_refiner_is_loaded(write, models, monkeypatch):
    alive = []
    build = SDXLRefiner.build.__func__

    def counted(cls, *arguments, **options):
        held = (thing for thing in gc.get_objects() if isinstance(thing, UNet2DConditionModel))
        alive.append([unet for unet in held if unet.device.type != "meta"])
        return build(cls, *arguments, **options)

    monkeypatch.setattr(SDXLRefiner, "build", classmethod(counted))
    write(f"prompts: [a], refiner: {{id: {models / 'sdxl_refiner'}}}, {SMALL}", "stable_diffusion_xl")
    gc.collect()
    before = sum(isinstance(thing, UNet2DConditionModel) for thing in gc.get_objects())
    assert recipe("run", "draw.yaml") == 0
    assert len(alive[0]) <= before  # those of other tests


def test_a_matrix_is_drawn_and_laid_out(write):
    matrix = "matrix: {scheduler: [{type: DDIM}, {type: EulerDiscrete}], num_inference_steps: [2, 3, 4]}"
    run = write(f"prompts: [a red flower], height: 32, width: 32, {matrix}")
    assert recipe("run", "draw.yaml") == 0
    assert len(drawn(run)) == 6
    assert not (run / "samples" / "grid.png").exists()
    width, height = Image.open(run / "samples" / "matrix.png").size
    assert width > height  # three columns, two rows
    single = write(
        "prompts: [a red flower], height: 32, width: 32, scheduler: {type: EulerDiscrete}, num_inference_steps: 4"
    )
    assert recipe("run", "draw.yaml") == 0
    assert np.array_equal(drawn(single.parent / "002")[0], drawn(run)[5])
    texts = png.read(run / "samples" / "00005.png")["parameters"]
    assert "Steps: 4" in texts
    assert "Sampler: Euler" in texts


def test_the_last_key_of_the_matrix_as_written_goes_across(write):
    matrix = "matrix: {negative_prompt: ['', 'cat', 'dog'], guidance_scale: [3, 7]}"
    run = write(f"prompts: [a], {SMALL}, {matrix}")
    assert recipe("run", "draw.yaml") == 0
    settled = yaml.safe_load((run / "settled.yaml").read_text())["sampling"]["matrix"]
    assert list(settled) == ["negative_prompt", "guidance_scale"]
    texts = [png.read(path)["parameters"] for path in sorted(run.glob(PICTURES))]
    assert ["CFG scale: 3" in text for text in texts] == [True, False] * 3
    assert "dog" in texts[5]


def test_prompts_come_from_a_file_and_stand_in_the_record(write, here):
    (here / "prompts.txt").write_text("a red flower\n\nthe sky\n")
    run = write(f"prompts: ./prompts.txt, {SMALL}")
    assert recipe("run", "draw.yaml") == 0
    assert len(drawn(run)) == 2
    (here / "prompts.txt").unlink()
    assert yaml.safe_load((run / "settled.yaml").read_text())["sampling"]["prompts"] == ["a red flower", "the sky"]
    assert recipe("run", str(run)) == 0
    assert recipe("run", "draw.yaml") == 3


def test_a_prompt_that_is_cut_off_says_what_is_lost(write, capsys):
    write(f"prompts: ['{'red ' * 80}and the blue tree'], {SMALL}")
    assert recipe("run", "draw.yaml") == 0
    assert re.search(r"warning: .*the blue tree", capsys.readouterr().err)


def test_keys_of_another_family_are_problems_with_their_place(write, capsys):
    write(f"prompts: [a], labels: [rose], matrix: {{true_cfg_scale: [1, 2]}}, {SMALL}")
    assert recipe("run", "draw.yaml") == 1
    err = capsys.readouterr().err
    assert re.search(r"draw.yaml:5:\d+: labels means nothing to a stable_diffusion model", err)
    assert re.search(r"draw.yaml:5:\d+: true_cfg_scale means nothing", err)


def test_a_scheduler_that_does_not_fit_is_a_problem_inside_a_matrix_too(write, capsys):
    write(f"prompts: [a], matrix: {{scheduler: [{{type: DDIM}}, {{type: FlowMatchEulerDiscrete}}]}}, {SMALL}")
    assert recipe("run", "draw.yaml") == 1
    assert "FlowMatchEulerDiscrete" in capsys.readouterr().err
    write(f"prompts: [a], {SMALL}", "stable_diffusion_3", more="scheduler: {type: DDIM}\n")
    assert recipe("run", "draw.yaml") == 1
    assert re.search(r"draw.yaml:5:\d+: .*DDIM", capsys.readouterr().err)


def test_a_dry_run_names_the_files_and_writes_nothing(write, here, capsys):
    write(f"prompts: [a red flower], num_images: 4, batch_size: 2, {SMALL}")
    before = sorted(here.rglob("*"))
    assert recipe("run", "draw.yaml", "--dry-run") == 0
    out = capsys.readouterr().out
    assert sorted(here.rglob("*")) == before
    assert re.search(r"model\s+stable_diffusion", out)
    assert re.search(r"loads\s+\d+ files", out)
    assert "unet/diffusion_pytorch_model.safetensors" in out
    assert re.search(r"sampling\s+4 pictures, 6 denoising steps of a batch", out)
    assert recipe("run", "draw.yaml", "--dry-run", "--format", "json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert all(file["here"] for file in planned["needed"])
    assert planned["drawing"]["memory"]["weights"] == 4 * planned["parameters"]


def test_a_plan_that_does_not_fit_the_memory_is_said_before_it_begins(write, capsys):
    write("prompts: [a], height: 16384, width: 16384, num_images: 64, batch_size: 64")
    assert recipe("run", "draw.yaml", "--dry-run") == 0
    err = capsys.readouterr().err
    assert re.search(r"warning: drawing is planned to take [\d.,]+ TiB of memory and [\d.]+ GiB are free", err)
    assert "sampling.batch_size=32, compute.dtype=bf16" in err
    write(f"prompts: [a], {SMALL}")
    assert recipe("run", "draw.yaml", "--dry-run") == 0
    assert "planned" not in capsys.readouterr().err


def test_the_plan_counts_what_is_drawn(write, capsys):
    def planned():
        assert recipe("run", "draw.yaml", "--dry-run", "--format", "json") == 0
        return json.loads(capsys.readouterr().out)

    write(f"prompts: [a], {SMALL}", "checked")
    checked = planned()
    write(f"prompts: [a], {SMALL}", "checked", model=", safety_checker: false")
    without = planned()
    assert set(checked["parts"]) - set(without["parts"]) == {"safety_checker"}
    assert without["parameters"] == checked["parameters"] - checked["parts"]["safety_checker"]
    small = without["drawing"]["memory"]["activations"]
    write("prompts: [a], num_inference_steps: 3, width: 32, height: 32, matrix: {height: [32, 128]}", "checked")
    assert planned()["drawing"]["memory"]["activations"] > 2 * small


def test_a_stochastic_sampler_of_a_flow_is_repeated_too(write):
    sampler = "scheduler: {type: FlowMatchEulerDiscrete, stochastic_sampling: true}\n"
    run = write(f"prompts: [a], num_images: 2, {SMALL}", "stable_diffusion_3", more=sampler)
    assert recipe("run", "draw.yaml") == 0
    assert recipe("run", "draw.yaml") == 0
    for one, other in zip(drawn(run), drawn(run.parent / "002"), strict=True):
        assert np.array_equal(one, other)


def test_the_safety_checker_is_as_the_model_ships_it_unless_said_otherwise(write, capsys):
    run = write(f"prompts: [a], {SMALL}", "checked")
    assert recipe("run", "draw.yaml") == 0
    assert "safety_checker: true" in (run / "settled.yaml").read_text()
    write(f"prompts: [a], {SMALL}", "checked", model=", safety_checker: false")
    assert recipe("run", "draw.yaml") == 0
    write(f"prompts: [a], {SMALL}", model=", safety_checker: true")
    assert recipe("run", "draw.yaml") == 1
    assert re.search(r"draw.yaml:4:\d+: .*ships no safety checker", capsys.readouterr().err)


def test_a_withheld_picture_is_named(write, models, monkeypatch, capsys):
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    def strict(self, clip_input, images):
        images[:] = 0
        return images, [True] * len(images)

    monkeypatch.setattr(StableDiffusionSafetyChecker, "forward", strict)
    run = write(f"prompts: [a], {SMALL}", "checked")
    assert recipe("run", "draw.yaml") == 0
    assert re.search(r"withheld 1 .*00000\.png", capsys.readouterr().err)
    assert drawn(run)[0].max() == 0


def test_pictures_that_are_no_numbers_are_named(write, monkeypatch, capsys):
    whole = AutoencoderKL.decode
    monkeypatch.setattr(AutoencoderKL, "decode", lambda self, z, **options: whole(self, z * torch.nan, **options))
    run = write(f"prompts: [a], num_images: 3, batch_size: 2, {SMALL}")
    assert recipe("run", "draw.yaml") == 0
    err = capsys.readouterr().err
    assert "warning: 00000.png to 00001.png: the model's numbers became NaN" in err
    assert "warning: 00002.png: the model's numbers became NaN" in err
    assert drawn(run)[0].max() == 0


def test_pictures_that_cannot_be_read_stop_before_the_model_is_loaded(write, here, capsys):
    (here / "broken.png").write_bytes(b"\x89PNG nothing")
    for name in ("broken.png", "missing.png"):
        write(f"prompts: [a], init_image: ./{name}, {SMALL}")
        assert recipe("run", "draw.yaml") == 3
        err = capsys.readouterr().err
        assert name in err
        assert "Model" not in err
    assert not (here / "outputs").exists()


def test_an_interrupted_run_goes_on_with_the_pictures_that_are_missing(write, here):
    run = write("prompts: [a red flower], num_images: 6, height: 64, width: 64, num_inference_steps: 12")
    with forked(here, "run", "draw.yaml") as process:
        process.wait_for(run / "samples" / "00001.png")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130, process.said
    ready = sorted(run.glob(PICTURES))
    assert 2 <= len(ready) < 6
    written = {path: path.stat().st_mtime_ns for path in ready}
    assert recipe("run", "draw.yaml") == 0
    assert len(drawn(run)) == 6
    assert {path: path.stat().st_mtime_ns for path in ready} == written
    assert recipe("run", "draw.yaml") == 0  # a new run from the start
    for one, other in zip(drawn(run), drawn(run.parent / "002"), strict=True):
        assert np.array_equal(one, other)


MENDS = [
    "sampling.batch_size=10000",
    "compute.dtype=bf16",
    "compute.vae_tiling=true",
    "compute.attention_slicing=true",
    "sampling.height=",
]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_out_of_memory_names_the_keys_to_change(write, here):
    write("prompts: [a red flower], num_images: 20000, batch_size: 20000, height: 64, width: 64")
    with forked(here, "run", "draw.yaml", memory=2**30) as process:
        code, err = process.wait(), process.said
    assert code == 5, err
    assert "the machine is out of memory; what was made is kept" in err
    assert sorted(MENDS, key=err.index) == MENDS
    assert "Traceback" not in err


def test_out_of_memory_keeps_what_was_drawn_and_the_run_goes_on(write, monkeypatch, capsys):
    whole, calls = StableDiffusionPipeline.__call__, []

    def limited(self, *arguments, **options):
        calls.append(options)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, *arguments, **options)

    limited.__signature__ = inspect.signature(whole)
    run = write(f"prompts: [a red flower], num_images: 6, batch_size: 2, {SMALL}")
    monkeypatch.setattr(StableDiffusionPipeline, "__call__", limited)
    assert recipe("run", "draw.yaml") == 5
    assert "sampling.batch_size=1, compute.dtype=bf16" in capsys.readouterr().err
    assert len(drawn(run)) == 4
