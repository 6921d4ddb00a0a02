"""From a checked recipe to a finished folder: rehearse, settle, plan, choose the folder, run."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import doctor, going_on
from runner.changes import asked
from runner.errors import EnvironmentFault, RecipeError
from runner.going_on import Earlier
from runner.language.recipe import Recipe
from runner.outputs.folder import RunFolder
from runner.processes import Started, alone, aloud, started, starts_others, trains
from runner.progress import Progress, create, silent
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.settle.settled import Settled


def job(recipe: Recipe, arguments: Namespace) -> None:
    """Does what `recipe run` was asked to do with this recipe.

    Raises:
        RecipeProblems, RecipeError: whatever stops it, after the run's folder has recorded it.
    """
    with aloud():
        doctor.floors()
    if starts_others(recipe.values, arguments):
        _start(recipe.values["compute"], arguments)
        return
    beside, learns = started(), trains(recipe.values, arguments)
    if beside is not None and beside.rank > 0:
        if learns:
            _follow(recipe, arguments, beside)
        return
    if beside is not None and learns:
        compute = recipe.values["compute"] | {"processes": beside.count}
        recipe = replace(recipe, values={**recipe.values, "compute": compute})
        arguments.fresh &= not beside.restarts  # what the launcher began anew goes on
    elif beside is not None:
        alone()
        beside = None
    planning = arguments.dry_run  # prints the plan and nothing else
    progress = create(quiet=arguments.quiet or planning, as_json=arguments.format == "json" and not planning)
    progress.stage(recipe.values["name"])
    _quiet_libraries()
    if not arguments.smoke:
        _settle_and_run(recipe, arguments, progress, beside)
        return
    from runner.smoke import rehearsal

    with _scratch() as scratch:
        recipe = replace(recipe, values=rehearsal(recipe, Path(scratch)))
        _settle_and_run(recipe, arguments, progress, None)


def _start(compute: dict[str, Any], arguments: Namespace) -> None:
    """The run, in processes that are started here."""
    from runner.processes.launch import launch
    from runner.settle.processes import require_devices

    require_devices(compute, compute["processes"])
    launch(arguments.argv, compute["processes"])


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what a rehearsal makes up."""
    try:
        return tempfile.TemporaryDirectory(prefix="recipe-")
    except OSError as error:
        raise EnvironmentFault(
            f"no temporary folder can be made ({shown(error.strerror)}): free some space, or let TMPDIR name another"
        ) from error


def _settle_and_run(recipe: Recipe, arguments: Namespace, progress: Progress, beside: Started | None) -> None:
    from runner.processes.crew import join
    from runner.processes.voice import one_voice
    from runner.processes.world import World

    world = World() if beside is None else join(beside, recipe.values["compute"])
    with one_voice(world):
        earlier = going_on.find(recipe, arguments, progress)
        settled = _settled(earlier.settle_again(recipe) if earlier else recipe, earlier, arguments, progress)
        if arguments.dry_run:
            return
        if earlier:
            progress.say(earlier.told)
        folder = earlier.folder if earlier else RunFolder.create(Path(arguments.output_dir), recipe.values["name"])
        again = _again(folder.path)
        from runner.signals import Stop

        with folder.lock() as notice, Stop(again) as world.stop, _recorded(folder), one_voice(world, again):
            if notice:
                progress.say(notice)
            if earlier and earlier.made_anew:
                _set_aside(folder, progress)
            folder.begin(
                given=_given(recipe, arguments),
                text=settled.text,
                asked=earlier.asked if earlier else asked(recipe),
                settled=settled.values,
            )
            world.tell((settled.values, folder.path, settled.model.classes if settled.model else []))
            _run(settled, folder, arguments, progress, world)
    _tell(folder, progress, again=not arguments.smoke)


def _follow(recipe: Recipe, arguments: Namespace, beside: Started) -> None:
    """What the processes beside the main one do: they share the work on what it has settled, and write nothing."""
    with aloud():
        from runner.processes.crew import join
        from runner.processes.voice import one_voice
        from runner.settle.settled import settle
        from runner.signals import Stop

        _quiet_libraries()
        world = join(beside, recipe.values["compute"])
    with Stop("run the same command again", quiet=True) as world.stop, one_voice(world):
        nothing: tuple[dict[str, Any], Path, list[str]] = ({}, Path(), [])
        values, path, classes = world.tell(nothing)  # of the main process
        if not path.is_dir():
            raise EnvironmentFault(
                f"process {world.rank} does not see the run's folder {shown(path, 1000)}: choose one that all machines "
                "share with --output-dir"
            )
        world.stop.again = _again(path)
        with one_voice(world, world.stop.again):
            options = {"offline": arguments.offline, "allow_pickle": arguments.allow_pickle}
            settled = settle(replace(recipe, values=values), **options, classes=classes)
            _run(replace(settled, values=values), RunFolder(path), arguments, silent(), world)


def _again(folder: Path) -> str:
    """How a run goes on."""
    return f"the same command goes on with {shown(folder)}"


def _run(settled: Settled, folder: RunFolder, arguments: Namespace, progress: Progress, world: World) -> None:
    """One process's part of a run; all end together."""
    from runner.places import cache_root
    from runner.run import Run

    root = cache_root(arguments.cache_dir)
    Run(settled, folder, root, progress, world, allow_changes=arguments.allow_changes)()
    world.wait()
    world.leave()


def _settled(recipe: Recipe, earlier: Earlier | None, arguments: Namespace, progress: Progress) -> Settled:
    """The settled recipe, after its plan was looked at, or printed for a dry run."""
    from runner.plan import plan, render, shortage, shortfall
    from runner.settle.apart import require_apart
    from runner.settle.processes import unshared
    from runner.settle.secrets import require_no_secrets
    from runner.settle.settled import settle

    settled = settle(recipe, offline=arguments.offline, allow_pickle=arguments.allow_pickle)
    require_no_secrets(settled.values, Path(arguments.output_dir))
    if "data" in settled.values:
        require_apart(recipe, settled.values["data"], Path(arguments.output_dir) / recipe.values["name"])
    planned = plan(settled)
    if earlier:
        earlier.require_ahead(planned.training.steps if planned.training else None)
    for warning in (shortage(planned, settled.values), unshared(settled.values)):
        if warning is not None:
            progress.warn(warning)
    lack = shortfall(planned.disk, Path(arguments.output_dir), earlier.folder.path if earlier else None)
    if lack is not None and not arguments.dry_run:
        raise EnvironmentFault(lack)
    if arguments.dry_run:
        if lack is not None:
            progress.warn(lack)
        print(json.dumps(planned.as_json(), indent=2) if arguments.format == "json" else render(planned))
    return settled


def _given(recipe: Recipe, arguments: Namespace) -> str:
    """The recipe's own text, after what the command line changed."""
    changes = [f"# on the command line: {shown(change)}" for change in arguments.overrides]
    changes += ["# rehearsed with --smoke"] if arguments.smoke else []
    return "\n".join([*changes, *recipe.document.source.lines])


def _set_aside(folder: RunFolder, progress: Progress) -> None:
    """What the run made at its end is of the recipe before: it makes it anew."""
    name, moved = folder.set_aside()
    if moved:
        progress.say(f"what it had made is in {shown(folder.path / name)} now: {len(moved)} files and folders")


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[None]:
    """run.json tells how the run ended."""
    try:
        yield
    except BaseException as error:
        with suppress(EnvironmentFault):  # a disk that takes nothing more does not hide the first fault
            folder.end(*_ended(error))
        raise
    folder.end(0, "done")


def _ended(error: BaseException) -> tuple[int, str]:
    """Exit code and message."""
    return (error.exit_code, str(error)) if isinstance(error, RecipeError) else (70, f"{type(error).__name__}: {error}")


def _quiet_libraries() -> None:
    """Bars and chatter of the libraries would break into the display."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", module=r"(diffusers|transformers|accelerate|torch|huggingface_hub)\b")


def _tell(folder: RunFolder, progress: Progress, *, again: bool) -> None:
    """The last words: where things are and what to do next."""
    rows = [
        ("pictures", "samples/grid.png"),
        ("pictures", "samples/matrix.png"),
        ("progress", "samples/progress.gif"),
        ("model", "model"),
        ("captions", "captions/metadata.jsonl"),
    ]
    for name, inside in rows:
        if (folder.path / inside).exists():
            progress.result(f"{name:>9}  {folder.path / inside}")
    if (folder.path / "sample.yaml").exists():
        progress.result(f"{'draw':>9}  recipe run {folder.path / 'sample.yaml'}")
    if again:
        progress.result(f"{'again':>9}  recipe run {folder.path}")
