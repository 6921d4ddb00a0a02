"""How the cost of training grows: tables, and with --plot FILE.png a plot of them (the extra `benchmarks`).

    python -m tests.benchmarks.scaling [--plot FILE.png] [batch] [resolution] [processes] [pictures]

`recipe run` of a UNet of 6.3 million parameters with a CPU's defaults, not compiled.
    batch, resolution   images a second
    processes           the same step shared by one and two of them
    pictures            a cache of 10^3 to 10^6 of them at 16 px: what a process has taken when its first step is done,
                        in seconds on the clock and of a CPU, and its peak of memory
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from tests.benchmarks import peers, product
from tests.benchmarks.pairs import Worker, arguments, settle_vision, side_by_side, spread

BATCHES = (1, 2, 4, 8, 16, 32)
RESOLUTIONS = (16, 32, 64, 128)
PROCESSES = (1, 2)
PICTURES = (10**3, 10**4, 10**5, 10**6)
SMALLEST = 16  # px


def recipe(pixels, batch_size, count=64, **compute):
    return {
        "data": {"type": "builtin", "num_images": count, "resolution": pixels, "random_flip": True},
        "model": {"type": "pixel_unet", **peers.UNET},
        "scheduler": {"type": "DDPM"},
        "training": {"batch_size": batch_size, "ema": {"decay": 0.9999}},
        "compute": {"device": "cpu", "compile": False, **compute},
    }


def batch(options, cache):
    """Images a second of each batch size at 32 px."""
    return _rates({size: (recipe(32, size), size) for size in BATCHES}, options, cache)


def resolution(options, cache):
    """Images a second of each resolution in batches of 8."""
    return _rates({pixels: (recipe(pixels, 8), 8) for pixels in RESOLUTIONS}, options, cache)


def _rates(recipes, options, cache):
    kinds = {str(x): partial(product.train, values, cache) for x, (values, _) in recipes.items()}
    seconds = side_by_side(kinds, options)
    return {x: {"images/s": [options.steps * n / s for s in seconds[str(x)]]} for x, (_, n) in recipes.items()}


def processes(options, cache):
    """Images a second of steps of 16 at 32 px; of each run the last ten of thirty steps."""
    found = {count: {"images/s": []} for count in PROCESSES}
    for _ in range(options.rounds):
        for count in PROCESSES:
            values = recipe(32, 16, processes=count)
            values["training"] |= {"max_train_steps": 30, "logging_steps": 10}
            found[count]["images/s"].append(product.logged(values, cache)[-1]["images_per_second"])
    return found


def pictures(options, cache):
    """What a process has taken when its first step is done."""
    for count in PICTURES:
        write(count, cache)
    found = {count: {"seconds": [], "CPU seconds": [], "MiB": []} for count in PICTURES}
    for number in range(-1, options.rounds):  # the first fills the disk's cache
        for count in PICTURES:
            start = time.perf_counter()
            worker = Worker(str(count), partial(product.train, recipe(SMALLEST, 8, count), cache))
            turn = worker.turn(1)
            row = (time.perf_counter() - start, turn.process, turn.peak)
            worker.close()
            if number >= 0:
                for column, value in zip(found[count].values(), row, strict=True):
                    column.append(value)
    return found


def write(count, cache):
    """A cache of so many pictures, as if they had been drawn: an hour for the last of them."""
    from runner.data.builtin import Builtin
    from runner.data.cache import _AS_DRAWN, _key
    from runner.data.source import Item, Place
    from runner.data.store import Writer

    section = {"resolution": SMALLEST}
    source = Builtin(num_images=count, kinds=None, resolution=SMALLEST, label_by="kind")
    noise = np.random.default_rng(0).integers(0, 256, (256, SMALLEST, SMALLEST, 3), np.uint8)
    with Writer(cache / "pictures") as writer:
        for number in range(count):
            item = Item(f"flower {number}", "a flower", number % len(source.classes))
            writer.add(Place(0, number), item, noise[number % 256], (SMALLEST, SMALLEST))
        writer.keep(_key(source, {**_AS_DRAWN, **section}), source.classes)


WHAT = {"batch": batch, "resolution": resolution, "processes": processes, "pictures": pictures}
AXES = {
    "batch": "batch size",
    "resolution": "resolution, px",
    "processes": "processes",
    "pictures": "pictures of the set",
}


def show(what, found):
    """Prints a table."""
    columns = list(next(iter(found.values())))
    print(f"\n{what:>12}" + "".join(f"{column:>28}" for column in columns))
    for x, row in found.items():
        print(f"{x:12,}" + "".join(f"{spread(row[column], 1):>28}" for column in columns), flush=True)


def plot(tables, file):
    """All tables, a panel for each column, three in a row: rates on logarithmic axes, what should stay flat from 0."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, ScalarFormatter

    panels = [(what, column, found) for what, found in tables.items() for column in next(iter(found.values()))]
    columns, rows = min(3, len(panels)), -(-len(panels) // 3)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    for axes, (what, column, found) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        middle = [statistics.median(row[column]) for row in found.values()]
        around = [[abs(m - end(row[column])) for m, row in zip(middle, found.values())] for end in (min, max)]
        axes.errorbar(list(found), middle, around, marker="o", capsize=3)
        axes.set(xlabel=AXES[what], ylabel=column, xscale="log", ylim=(0, 1.5 * max(middle)))
        if what != "pictures":
            axes.set(yscale="log", ylim=(min(middle) / 2, max(middle) * 2))
            axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=ScalarFormatter())
        axes.set_xticks(list(found), [f"{x:,}" for x in found])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(panels) :]:
        axes.remove()
    figure.savefig(file, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=", ".join(WHAT))
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    arguments(parser, rounds=3, steps=5, warm=2)
    options = parser.parse_args()
    settle_vision()
    tables = {}
    with tempfile.TemporaryDirectory() as cache:
        for what in options.what or WHAT:
            tables[what] = WHAT[what](options, Path(cache))
            show(what, tables[what])
    if options.plot:
        plot(tables, options.plot)


if __name__ == "__main__":
    main()
