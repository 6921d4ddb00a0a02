"""Pictures a second from a folder by pillow and from the cache, and what the data takes of a training step.

    python -m tests.benchmarks.data [--pixels 32 512] [--kinds png jpeg] [--quality 95] [--larger 1 1.5] [--rounds 9]

Pictures of the folder have the size of training already, so that pillow decodes and scales nothing, or sides so many
times as long, as folders mostly have them, and pillow scales them each time. A JPEG of 512 px has about half a byte a
pixel, as those of COCO (18 GB for 118,287 pictures of about 0.3 megapixels); fewer with another --quality. A cache's
time is that of its second epoch. Both give batches of 16 as uint8, mirrored at random, in one thread. The second table
is the time of whole batches (noise, timesteps and labels too) over that of a bare step (forward, backward, optimizer;
bf16) of a UNet of 6.3 million parameters, one after the other, as on a CPU.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from runner.data.batches import Batches, Work
from runner.data.cache import prepare
from runner.data.draws import AUGMENT, rng
from runner.data.folder import Folder
from runner.data.samples import stacked
from runner.data.transforms import fit
from runner.data.views import Views
from runner.memory import keep_memory
from runner.processes.world import World
from runner.progress import create
from tests.benchmarks.pairs import in_turns, settle_vision, spread, table
from tests.benchmarks.peers import bare_step

BATCH = 16
AS_SEEN = {"interpolation": "lanczos", "center_crop": True}
SECTION = {**AS_SEEN, "random_flip": True, "background": "#ffffff"}
SECTION |= {"max_images": None, "on_error": "stop", "aspect_ratio_buckets": None, "color_jitter": None}


def photographs(folder, count, pixels, kind, quality=95):
    """A folder of pictures with as much detail as photographs have: noise that is scaled up, of several sizes."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        grains = [size for size in (4, 16, 64, 256) if size <= pixels]
        parts = [generator.integers(0, 256, (size, size, 3), np.uint8) for size in grains]
        scaled = [
            np.asarray(Image.fromarray(part).resize((pixels, pixels), Image.Resampling.BICUBIC)) for part in parts
        ]
        weights = [0.8**i for i in range(len(parts))]
        mixed = sum(weight * part for weight, part in zip(weights, scaled)) / sum(weights)
        Image.fromarray(mixed.astype(np.uint8)).save(folder / f"{number:04d}.{kind}", quality=quality)
    return folder


def prepared(folder, pixels, cache):
    """The pictures of a folder, and its section."""
    section = {"type": "folder", "id": str(folder), "resolution": pixels, **SECTION}
    source = Folder(id=str(folder), caption_column="text", metadata_file=None)
    return prepare(source, section=section, cache_dir=cache, progress=create(quiet=True), world=World()), section


def by_pillow(folder, pixels):
    """A call that decodes one batch after another, and scales what is larger."""
    files = sorted(folder.iterdir())
    batches = _numbers(len(files))

    def batch():
        pictures = []
        for number in next(batches):
            with Image.open(files[number % len(files)]) as file:
                image = file.convert("RGB")
            array = np.asarray(image) if image.width == pixels else fit(image, **AS_SEEN, height=pixels, width=pixels)
            pictures.append(array[:, ::-1] if rng(0, AUGMENT, number).random() < 0.5 else array)
        return torch.from_numpy(np.stack(pictures))

    return batch


def from_cache(pictures, section):
    """A call that reads one batch after another."""
    views, batches = Views(pictures, section), _numbers(len(pictures))

    def batch():
        numbers = next(batches)
        return stacked([views.drawn(number % len(pictures), rng(0, AUGMENT, number)).pixels for number in numbers])

    return batch


def _numbers(count):
    start = 0
    while True:
        yield range(start, start + BATCH)
        start += BATCH


def shares(pixels, pictures, section, rounds):
    """What whole batches take of a bare step, in each round."""
    batches = Batches(
        pictures,
        work=Work(10**9, BATCH, 1),
        data=section,
        seed=1,
        shape=lambda height, width: (3, height, width),
        noise_offset=0.0,
        label_dropout_rate=None,
        workers=0,
    )
    numbers = _numbers(len(pictures))
    kinds = {"data": lambda: batches.batches(next(numbers)), "step": bare_step(pixels, BATCH, "bf16", False)}
    found = in_turns(kinds, rounds)
    return [100 * a / b for a, b in zip(found["data"], found["step"], strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 512])
    parser.add_argument("--kinds", nargs="+", default=["png", "jpeg"])
    parser.add_argument("--quality", type=int, default=95)
    parser.add_argument("--larger", type=float, nargs="+", default=[1, 1.5])
    parser.add_argument("--of-a-step", type=int, nargs="*", default=[32, 64])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    settle_vision()
    keep_memory()
    with tempfile.TemporaryDirectory() as root:
        cache = Path(root, "cache")
        for pixels in options.pixels:
            for kind, larger in itertools.product(options.kinds, options.larger):
                count, side = max(BATCH, min(512, 2**26 // pixels**2)), round(larger * pixels)
                folder = photographs(Path(root, f"{pixels}-{side}-{kind}"), count, side, kind, options.quality)
                size = sum(file.stat().st_size for file in folder.iterdir()) / count / 1024
                print(f"{pixels} px, from {kind} of {side} px and {size:.0f} KiB")
                kinds = {"pillow": by_pillow(folder, pixels), "cache": from_cache(*prepared(folder, pixels, cache))}
                table(in_turns(_epochs(kinds, count), options.rounds), unit="pictures", work=count, bases=["pillow"])
        if options.of_a_step:
            print("data in % of a step")
        for pixels in options.of_a_step:
            folder = photographs(Path(root, f"{pixels}-step"), 256, pixels, "png")
            found = shares(pixels, *prepared(folder, pixels, cache), options.rounds)
            print(f"{pixels:4} px, batch {BATCH}: {spread(found)}", flush=True)


def _epochs(kinds, count):
    """Calls that go through all pictures."""

    def epoch(batch):
        for _ in range(-(-count // BATCH)):
            batch()

    return {name: lambda batch=batch: epoch(batch) for name, batch in kinds.items()}


if __name__ == "__main__":
    main()
