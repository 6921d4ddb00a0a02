"""The product as a kind of work: `recipe run` itself, held between turns where its loop has done a step."""

import json
import multiprocessing
import tempfile
from pathlib import Path

from tests.benchmarks.pairs import settle_vision

ENDLESS = 10**6


def train(values, cache, gate):
    """Runs a recipe's training.

    Args:
        values: the recipe; the number of steps and the distance of checkpoints are set here.
        cache: the cache root, which the kinds of a comparison may share.
    """
    from runner import cli
    from runner.training.keeper import Keeper

    resume, stepped = Keeper.resume, Keeper.stepped

    def held_resume(keeper, trainer):
        resume(keeper, trainer)
        gate.ready()

    def held_stepped(keeper):
        stepped(keeper)
        gate.step()

    Keeper.resume, Keeper.stepped = held_resume, held_stepped
    training = {"max_train_steps": ENDLESS, "checkpointing_steps": None, **values["training"]}
    with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(json.dumps({"version": 1, "name": "measured", **values, "training": training}), "utf-8")
        where = ["--output-dir", f"{folder}/outputs", "--cache-dir", str(cache), "--quiet", "--offline"]
        raise SystemExit(cli.main(["run", str(recipe), *where]))


def settled(values):
    """A recipe with nothing left open, on this machine."""
    from runner.language.load import parse
    from runner.language.recipe import read
    from runner.settle.settled import settle

    recipe = {"version": 1, "name": "measured", **values}
    if "training" in recipe:
        recipe["training"] = {"max_train_steps": ENDLESS, **recipe["training"]}
    return settle(read(parse(json.dumps(recipe), "recipe.yaml"))[0], offline=True)


def draw_folder(folder, count, pixels):
    """A folder of so many built-in flowers as PNG files, with their captions in metadata.jsonl."""
    from runner.data.builtin import draw, scene

    folder.mkdir(parents=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            flower = scene(number)
            draw(flower, pixels).save(folder / f"{number:06d}.png")
            file.write(json.dumps({"file_name": f"{number:06d}.png", "text": flower.caption}) + "\n")
    return folder


def logged(values, cache):
    """Runs a recipe's training in a process of its own and returns its log's lines."""
    with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(json.dumps({"version": 1, "name": "measured", **values}), "utf-8")
        where = ["--output-dir", f"{folder}/outputs", "--cache-dir", str(cache), "--quiet", "--offline"]
        process = multiprocessing.get_context("spawn").Process(target=_run, args=(["run", str(recipe), *where],))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)  # it has said why
        log = Path(folder, "outputs/measured/001/log.jsonl").read_text("utf-8")
    return [line for line in map(json.loads, log.splitlines()) if "loss" in line]


def _run(arguments):
    settle_vision()
    from runner import cli

    raise SystemExit(cli.main(arguments))
