"""Pixel training beside what people would otherwise use, images a second; needs the extra `benchmarks`.

    python -m tests.benchmarks.training [--pixels 32 64] [--batch-size 16] [--rounds 7] [--steps 10] [KIND …]
    python -m tests.benchmarks.training --overhead      what the loop costs over bare forward, backward, optimizer
    python -m tests.benchmarks.training --curve         the losses of fast settings among those of seeds in fp32

All train the same UNet2DModel (6.3 million parameters) from the same folder of PNG files, mirrored at random, with an
average of the weights: `recipe run` with its keys, diffusers' train_unconditional loop with its defaults (AdamW,
EMAModel, Accelerate, PIL transforms; epsilon), and denoising_diffusion_pytorch's Trainer with its (Adam, its own
average every ten steps, two workers; v-prediction). Kinds: see KINDS.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks import peers, product
from tests.benchmarks.pairs import arguments, side_by_side, spread, table

PICTURES = 512
SETTINGS = {
    "fp32": {"mixed_precision": "fp32", "channels_last": False, "compile": False},
    "bf16": {"mixed_precision": "bf16", "channels_last": False, "compile": False, "eager_attention": True},
    "fast": {"mixed_precision": "bf16", "channels_last": True, "compile": False, "eager_attention": True},
    "compiled": {"mixed_precision": "bf16", "channels_last": True, "compile": True, "eager_attention": True},
}
KINDS = (*SETTINGS, "auto", "diffusers", "diffusers bf16", "lucidrains", "lucidrains bf16")
BASES = ("diffusers", "diffusers bf16", "lucidrains")


def recipe(folder, pixels, batch_size, compute, **training):
    """The recipe of these comparisons."""
    return {
        "data": {"type": "folder", "id": str(folder), "resolution": pixels, "random_flip": True},
        "model": {"type": "pixel_unet", **peers.UNET},
        "scheduler": {"type": "DDPM"},
        "training": {
            "batch_size": batch_size,
            "learning_rate": peers.LEARNING_RATE,
            "ema": {"decay": 0.9999},
            **training,
        },
        "compute": {"device": "cpu", **compute},
    }


def kind(name, root, pixels, batch_size):
    """One of KINDS as a kind of work."""
    pictures = root / f"pictures-{pixels}"
    if not pictures.exists():
        product.draw_folder(pictures, PICTURES, pixels)
    peer, _, precision = name.partition(" ")
    if peer == "diffusers":
        return partial(peers.unconditional, pictures, pixels, batch_size, precision or "no")
    if peer == "lucidrains":
        return partial(peers.lucidrains, pictures, pixels, batch_size, precision or "no", root / name)
    values = recipe(pictures, pixels, batch_size, SETTINGS.get(name, {}))
    return partial(product.train, values, root / "cache")


def compare(options, root):
    """The table of images a second."""
    for pixels in options.pixels:
        print(f"{pixels} px, batch {options.batch_size}, {options.steps} steps a turn")
        kinds = {name: kind(name, root, pixels, options.batch_size) for name in options.kinds or KINDS}
        bases = [base for base in BASES if base in kinds]
        table(side_by_side(kinds, options), unit="images", work=options.steps * options.batch_size, bases=bases)


def overhead(options, root):
    """What the loop adds to forward, backward and optimizer: no average, no clipping on either side."""
    for pixels in options.pixels:
        print(f"{pixels} px, batch {options.batch_size}, {options.steps} steps a turn, no average, no clipping")
        pictures = product.draw_folder(root / f"pictures-{pixels}", PICTURES, pixels)
        for name, precision in (("fp32", "no"), ("fast", "bf16")):
            values = recipe(pictures, pixels, options.batch_size, SETTINGS[name], max_grad_norm=None)
            del values["training"]["ema"]
            kinds = {
                "bare": partial(peers.bare, pixels, options.batch_size, precision, SETTINGS[name]["channels_last"]),
                f"recipe {name}": partial(product.train, values, root / "cache"),
            }
            table(side_by_side(kinds, options), unit="images", work=options.steps * options.batch_size, bases=["bare"])


def curve(options, root):
    """The loss over 500 steps, a mean of each 50, of fp32 with several seeds and of fast settings with the first."""
    pixels, steps, window = options.pixels[0], 500, 50
    pictures = product.draw_folder(root / "pictures", PICTURES, pixels)
    names = [f"fp32, seed {seed}" for seed in range(1, 6)] + ["fast, seed 1", "compiled, seed 1"]
    rows = {}
    print(f"{'step':18}" + "".join(f"{step:9}" for step in range(window, steps + 1, window)))
    for name in names:
        setting, seed = name.split(", seed ")
        values = recipe(pictures, pixels, options.batch_size, SETTINGS[setting], max_train_steps=steps, logging_steps=1)
        values["seed"] = int(seed)
        losses = [line["loss"] for line in product.logged(values, root / "cache")]
        rows[name] = [statistics.fmean(losses[i : i + window]) for i in range(0, steps, window)]
        print(f"{name:18}" + "".join(f"{loss:9.5f}" for loss in rows[name]), flush=True)
    seeds = list(zip(*(rows[name] for name in names[:5]), strict=True))
    away = [[(loss - statistics.fmean(s)) / statistics.stdev(s) for loss, s in zip(rows[n], seeds)] for n in names[5:]]
    for name, found in zip(names[5:], away, strict=True):
        print(f"{name}: standard deviations of the seeds from their mean: {json.dumps([round(x, 2) for x in found])}")
        apart = [abs(a - b) / b for a, b in zip(rows[name], rows["fp32, seed 1"], strict=True)]
        print(f"{name}: relative distance from fp32 of the same seed: {spread(apart, 5)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batch-size", type=int, default=16)
    arguments(parser, rounds=7, steps=10, warm=3)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--overhead", action="store_const", dest="what", const=overhead)
    which.add_argument("--curve", action="store_const", dest="what", const=curve)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        (options.what or compare)(options, Path(root))


if __name__ == "__main__":
    main()
