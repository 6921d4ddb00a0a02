"""Drawing beside what people would otherwise use, pictures a second.

    python -m tests.benchmarks.sampling [--pixels 32 64] [--batch-size 16] [--rounds 7] [KIND …]
    python -m tests.benchmarks.sampling --overhead     what a draw takes over the UNet's calls, in one process
    python -m tests.benchmarks.sampling --latent       a Stable Diffusion by the sampling stage and by the bare pipeline
    python -m tests.benchmarks.sampling --memory       their peaks of memory

All draw with the same UNet2DModel (6.3 million parameters, random weights) in equally many steps: the sampling stage of
a recipe, which keeps the pictures in a run's folder as well; nothing but the UNet's calls; diffusers' DDIMPipeline and
DDPMPipeline; and denoising_diffusion_pytorch's GaussianDiffusion, which needs the extra `benchmarks`. A row named
`recipe ddpm` is to be read against the peers' ddpm, the others against their ddim. Kinds: see KINDS.
"""

import argparse
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.drawers import (
    PROMPTS,
    calls,
    latent_pipeline,
    lucidrains,
    pixel_pipeline,
    stage,
    staged,
    unet,
    write_latent,
    write_pixel,
)
from tests.benchmarks.pairs import arguments, in_turns, settle_vision, side_by_side, table

NO_ATTENTION = {"eager_attention": False, "upcast_attention": False}
PLAIN = {"device": "cpu", "dtype": "fp32", "channels_last": False, "compile": False, **NO_ATTENTION}
FAST = {"dtype": "bf16", "channels_last": True, "eager_attention": True}
SETTINGS = {
    "": PLAIN,
    "ddpm": PLAIN,
    "channels_last": {**PLAIN, "channels_last": True},
    "fast": {**PLAIN, **FAST},
    "compiled": {**PLAIN, **FAST, "compile": True},
}
"""By what follows 'recipe' or 'unet' in the name of a kind."""

KINDS = (
    *("unet", "recipe", "unet fast", "recipe channels_last", "recipe fast", "recipe compiled", "recipe ddpm"),
    *("DDIMPipeline", "DDPMPipeline", "lucidrains ddim", "lucidrains ddpm"),
)
BASES = ("unet", "unet fast", "DDIMPipeline", "DDPMPipeline", "lucidrains ddim", "lucidrains ddpm")
LATENT = ("pipeline", "recipe", "recipe channels_last", "recipe fast")


def kind(name, model, pixels, options):
    """One of KINDS as a kind of work."""
    who, _, how = name.partition(" ")
    size, steps = options.batch_size, options.inference_steps
    if who == "unet":
        return partial(unet, model, size, steps, SETTINGS[how])
    if who == "lucidrains":
        return partial(lucidrains, how, pixels, size, steps)
    if who != "recipe":
        return partial(pixel_pipeline, name, model, size, steps)
    return partial(stage, model, sampling("DDPM" if how == "ddpm" else "DDIM", options), SETTINGS[how])


def sampling(scheduler, options):
    """The section of a recipe that draws one batch."""
    size, steps = options.batch_size, options.inference_steps
    return {"num_images": size, "batch_size": size, "num_inference_steps": steps, "scheduler": {"type": scheduler}}


def pixel(options, root):
    """The table of the pixel model."""
    names = [name for name in options.kinds or KINDS if _can(name)]
    for pixels in options.pixels:
        print(f"{pixels} px, batch {options.batch_size}, {options.inference_steps} steps, {options.steps} draws a turn")
        model = root / f"pixel-{pixels}"
        write_pixel(model, pixels)
        kinds = {name: kind(name, model, pixels, options) for name in names}
        work = options.steps * options.batch_size
        bases = [base for base in BASES if base in kinds]
        table(side_by_side(kinds, options), unit="pictures", work=work, bases=bases, digits=3)


def overhead(options, root):
    """What a draw takes over the UNet's calls in it: scheduler, files, grid. By one UNet in one process.

    The machine's other work makes bare calls and draws differ by more; the calls within the same draw it does not.
    """
    import torch

    for pixels in options.pixels:
        print(f"{pixels} px, batch {options.batch_size}, {options.inference_steps} steps")
        write_pixel(root / f"pixel-{pixels}", pixels)
        for name in ("", "fast"):
            with staged(root / f"pixel-{pixels}", sampling("DDIM", options), SETTINGS[name]) as (draw, family):
                memory = torch.channels_last if SETTINGS[name]["channels_last"] else torch.contiguous_format
                bare = partial(calls, family.unet, options.batch_size, options.inference_steps, memory)
                seconds = []
                kinds = {"bare calls": bare, f"recipe {name}": partial(timed, family.unet, draw, seconds)}
                found = in_turns(kinds, options.rounds)
            within = {"calls of the draw": seconds[1:]}  # `in_turns` leaves out the first, too
            table(found | within, unit="pictures", work=options.batch_size, bases=["bare calls", *within], digits=3)


def timed(unet, draw, seconds):
    """Draws; adds how long it was within the UNet."""
    forward, within = unet.forward, []

    def call(*given, **named):
        start = time.perf_counter()
        output = forward(*given, **named)
        within.append(time.perf_counter() - start)
        return output

    unet.forward = call
    draw()
    unet.forward = forward
    seconds.append(sum(within))


def _can(name):
    if name.startswith("lucidrains") and importlib.util.find_spec("denoising_diffusion_pytorch") is None:
        print(f"{name}: left out, denoising_diffusion_pytorch is not installed (the extra `benchmarks`)")
        return False
    return True


def latent(options, root):
    """The table of the latent model: two prompts in one batch, with guidance."""
    write_latent(root / "latent")
    for pixels in options.pixels:
        print(f"{pixels} px, {len(PROMPTS)} prompts, {options.inference_steps} steps, {options.steps} draws a turn")
        kinds = {name: latent_kind(name, root / "latent", pixels, options) for name in options.kinds or LATENT}
        work = options.steps * len(PROMPTS)
        table(side_by_side(kinds, options), unit="pictures", work=work, bases=["pipeline"], digits=3)


def latent_kind(name, model, pixels, options):
    """One of LATENT as a kind of work."""
    if name == "pipeline":
        return partial(latent_pipeline, model, pixels, options.inference_steps)
    drawn = {"prompts": PROMPTS, "batch_size": 2, "num_inference_steps": options.inference_steps}
    drawn |= {"height": pixels, "width": pixels, "guidance_scale": 7.5}
    return partial(stage, model, drawn, SETTINGS[name.partition(" ")[2]])


class Once:
    """A gate that ends after one draw, with the process's MiB at the peak."""

    def ready(self):
        pass

    def step(self):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
        raise SystemExit


def memory(options, root):
    """The table of peaks: each kind loads and draws once in a process of its own, three times in turn."""
    # In a process of its own: a process begins with the peak of the one that started it.
    write = "import sys, pathlib; from tests.benchmarks import drawers; drawers.write_latent(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", write, root / "latent"], check=True)
    command = [sys.executable, "-m", "tests.benchmarks.sampling", *sys.argv[1:], "--folder", str(root / "latent")]
    print("run   pipeline      recipe     ratio")
    for run in range(3):
        found = [
            float(subprocess.run([*command, "--peak", name], check=True, capture_output=True).stdout)
            for name in LATENT[:2]
        ]
        print(f"{run + 1:3} {found[0]:8.1f} MiB {found[1]:8.1f} MiB {found[1] / found[0]:7.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--inference-steps", type=int, default=20)
    arguments(parser, rounds=7, steps=1, warm=1)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--overhead", action="store_const", dest="what", const=overhead)
    which.add_argument("--latent", action="store_const", dest="what", const=latent)
    which.add_argument("--memory", action="store_const", dest="what", const=memory)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settle_vision()
    if options.peak:
        latent_kind(options.peak, options.folder, options.pixels[0], options)(Once())
        return
    with tempfile.TemporaryDirectory() as root:
        (options.what or pixel)(options, Path(root))


if __name__ == "__main__":
    main()
