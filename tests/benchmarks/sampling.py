"""What a run's sampling stage costs over diffusers' bare pipeline call, in time and in memory.

    python -m tests.benchmarks.sampling [--pairs 3] [--steps 20] [--pixels 256] [--device cpu] [--dtype fp32]

Both draw the same pictures from one folder of random weights; ours keeps them in a run's folder as well. Times are
taken in pairs in one process, in turn, the first of a pair changing from pair to pair; the table shows each pair's
ratio and their median. The peak of memory is that of a process which loads the model and draws once, each kind in
processes of its own, three times in turn.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

from runner.language.load import parse
from runner.language.recipe import read
from runner.models import family_class, toy_parts, toys
from runner.models.family import DTYPES
from runner.outputs.folder import RunFolder
from runner.outputs.samples import Samples
from runner.progress import create
from runner.sampling.gallery import Gallery
from runner.settle import settle
from runner.signals import Stop
from tests.models.drawing import PROMPTS, load

KINDS = ("bare", "ours")


def write_model(folder):
    """A Stable Diffusion with a UNet of a fifth of SD 1.5's width."""
    toys.stable_diffusion(folder)
    unet = toy_parts.seeded(UNet2DConditionModel)(
        0,
        sample_size=32,
        block_out_channels=(64, 128, 256, 256),
        cross_attention_dim=toy_parts.WIDTH,
        norm_num_groups=16,
    )
    unet.save_pretrained(folder / "unet")


def drawer(kind, folder, options):
    """A function that draws, with the model loaded."""
    call = {"num_inference_steps": options.steps, "height": options.pixels, "width": options.pixels}
    if kind == "bare":
        pipeline = load(StableDiffusionPipeline, folder, dtype=DTYPES[options.dtype]).to(options.device)
        return lambda: pipeline(prompt=list(PROMPTS), generator=[seeded(), seeded()], **call).images
    return stage(folder, call, options)


def seeded():
    return torch.Generator().manual_seed(5)


def stage(folder, call, options):
    """The sampling stage of a run of a recipe, in a new run's folder each time."""
    values = {"version": 1, "name": "drawn", "model": {"type": "pretrained", "id": str(folder)}}
    values |= {"compute": {"device": options.device, "dtype": options.dtype}}
    values |= {"sampling": {"prompts": list(PROMPTS), "seed": 5, "batch_size": 2, **call}}
    settled = settle(read(parse(json.dumps(values), "recipe.yaml"))[0], offline=True)
    progress, outputs = create(quiet=True), Path(tempfile.mkdtemp(dir=folder))
    family = family_class(settled.model.family).build(
        settled.model,
        device=torch.device(options.device),
        seed=0,
        compute=settled.values["compute"],
        progress=progress,
    )

    def draw():
        run = RunFolder.create(outputs, "drawn")
        Gallery(settled.values, Samples(run, settled.portable), progress, Stop("")).draw(family)
        return [Image.open(run.path / "samples" / f"{number:05d}.png") for number in range(2)]

    return draw


def timed(draw):
    start = time.perf_counter()
    images = draw()
    return time.perf_counter() - start, np.stack([np.asarray(image) for image in images])


def compare_time(folder, options):
    """Prints the table of times."""
    draws = {kind: drawer(kind, folder, options) for kind in KINDS}
    for draw in draws.values():
        draw()
    print("\npair      bare      ours     ratio")
    ratios = []
    for pair in range(options.pairs):
        order = KINDS if pair % 2 == 0 else KINDS[::-1]
        found = {kind: timed(draws[kind]) for kind in order}
        bare, ours = (found[kind][0] for kind in KINDS)
        ratios.append(ours / bare)
        same = "" if np.array_equal(found["bare"][1], found["ours"][1]) else "  OTHER PICTURES"
        print(f"{pair + 1:4} {bare:7.2f} s {ours:7.2f} s {ratios[-1]:9.4f}{same}")
    print(f"median ratio {statistics.median(ratios):.4f}, from {min(ratios):.4f} to {max(ratios):.4f}")


def peak(kind, folder, options):
    """MiB at the peak of a process that loads and draws once: of the GPU on a GPU, else of the process."""
    drawer(kind, folder, options)()
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def compare_memory(folder, arguments):
    """Prints the table of peaks."""
    command = [sys.executable, "-m", "tests.benchmarks.sampling", *arguments, "--folder", str(folder), "--peak"]
    print("run       bare        ours     ratio")
    for run in range(3):
        found = [float(subprocess.run([*command, kind], check=True, capture_output=True).stdout) for kind in KINDS]
        print(f"{run + 1:3} {found[0]:8.1f} MiB {found[1]:8.1f} MiB {found[1] / found[0]:7.4f}")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", choices=list(DTYPES))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        print(peak(options.peak, options.folder, options))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        compare_memory(Path(folder), arguments)  # first: a process starts with the peak of the one that started it
        compare_time(Path(folder), options)


if __name__ == "__main__":
    main(sys.argv[1:])
