"""How long each verb takes to start and end, and what `recipe run` imports.

    python -m tests.benchmarks.startup [--rounds 9]
    python -m tests.benchmarks.startup --compiled       from the command to the first step that was compiled before

Each is a process of its own, in turns (with --compiled, one kind after another): seconds on the clock, and of a CPU,
which a busy machine changes less. The first row is Python alone. Modules are kept compiled, as pip does when it
installs them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.benchmarks import product
from tests.benchmarks.pairs import Worker, spread
from tests.benchmarks.training import SETTINGS, recipe

LIGHT = ("--help", "ls", "validate sd_lora", "show sd_lora", "schema", "schema training", "diff tiny_lora sd_lora")
RUNS = ("quickstart --dry-run", "quickstart --smoke", "folder --dry-run", "folder --smoke", "sd_lora --smoke")
CHILD = """
import json, sys, time
start = time.process_time()
from runner.cli import main
code = main(sys.argv[1:])
heavy = ["torch", "diffusers", "transformers.modeling_utils", "peft", "datasets", "scipy.stats", "compel", "pandas"]
print(json.dumps([code, time.process_time() - start, [name for name in heavy if name in sys.modules]]), file=sys.stderr)
"""


def process(command, environment):
    """Seconds on the clock and of a CPU that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verbs(rounds, environment):
    """Prints the table of verbs that neither train nor draw."""
    python = [sys.executable, "-c", "pass"]
    commands = {"(python)": python, **{verb: [sys.executable, "-m", "runner", *verb.split()] for verb in LIGHT}}
    found = {name: [] for name in commands}
    for number in range(-1, rounds):  # the first fills the caches of compiled modules and of the disk
        for name, command in commands.items():
            times = process(command, environment)
            if number >= 0:
                found[name].append(times)
    print(f"{'':24}{'seconds on the clock':>26}{'of a CPU':>26}")
    for name, times in found.items():
        clock, cpu = zip(*times, strict=True)
        print(f"{name:24}{spread(clock, 3):>26}{spread(cpu, 3):>26}")


def imports(folder, environment):
    """Prints what the dry run and the rehearsal of some recipes import."""
    own = folder / "folder.yaml"
    pictures = folder / "pictures"
    pictures.mkdir()
    from runner.data.builtin import draw, scene

    for number in range(4):
        draw(scene(number), 32).save(pictures / f"{number}.png")
    model = {"type": "pixel_unet", "block_out_channels": [8, 16], "norm_num_groups": 4}
    data = {"type": "folder", "id": str(pictures), "resolution": 32}
    sections = {"data": data, "model": model, "scheduler": {"type": "DDPM"}, "training": {"max_train_steps": 1}}
    own.write_text(json.dumps({"version": 1, "name": "x", **sections}), "utf-8")
    print(f"\n{'run':32}{'CPU seconds':>12}  imported")
    where = ["--output-dir", str(folder / "outputs"), "--cache-dir", str(folder / "cache"), "--offline"]
    for run in RUNS:
        name, option = run.split()
        recipe = str(own) if name == "folder" else name
        command = [sys.executable, "-c", CHILD, "run", recipe, option, "--quiet", *where]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        code, seconds, modules = json.loads(done.stderr.splitlines()[-1])
        assert code == 0, done.stderr
        print(f"{run:32}{seconds:12.1f}  {', '.join(modules)}", flush=True)


def compiled(rounds):
    """Prints what a run of a compiled UNet takes until its first step is done, with its code made then and kept."""
    print(f"{'':24}{'seconds on the clock':>26}")
    with tempfile.TemporaryDirectory() as root:
        for name, on, count in (("not compiled", False, rounds), ("code made", True, 1), ("code kept", True, rounds)):
            pictures = {"type": "builtin", "num_images": 64, "resolution": 32}
            values = recipe(root, 32, 16, {**SETTINGS["compiled"], "compile": on}) | {"data": pictures}
            seconds = []
            for _ in range(count):
                start = time.perf_counter()
                worker = Worker(name, partial(product.train, values, Path(root, "cache")))
                worker.turn(1)
                seconds.append(time.perf_counter() - start)
                worker.close()
            print(f"{name:24}{spread(seconds, 1):>26}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    if options.compiled:
        compiled(options.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        verbs(options.rounds, environment)
        imports(Path(folder), environment)


if __name__ == "__main__":
    main()
