"""What each verb of the command does, with everything heavy imported where it is needed."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import shipped_files
from runner.errors import DataError, EnvironmentFault, UsageError
from runner.secrets import hidden, redact
from runner.shown import shown

if TYPE_CHECKING:
    from runner.language.problems import Problem
    from runner.language.recipe import Recipe


def run(arguments: Namespace) -> int:
    """Run, plan (--dry-run) or rehearse (--smoke) a recipe."""
    from runner.processes import hush, starts_others

    hush()
    recipe, warnings = _checked(arguments)
    if not starts_others(recipe.values, arguments):
        _tell(recipe, warnings)
    from runner.job import job

    job(recipe, arguments)
    return 0


def validate(arguments: Namespace) -> int:
    """Check recipes, each on its own; 1 if any has an error."""
    from runner.find import document
    from runner.language.problems import RecipeProblems, render
    from runner.language.recipe import read

    found: list[Problem] = []
    code = 0
    for x in arguments.recipes:
        try:
            _, warnings = read(document(x))
            found += warnings
            if arguments.format == "text":
                print(f"{shown(x)}: ok" + (f", warnings: {len(warnings)}" if warnings else ""))
        except RecipeProblems as error:
            found += error.problems
            code = max(code, error.exit_code)
        except UsageError as error:
            print(f"recipe: {error}", file=sys.stderr)
            code = max(code, error.exit_code)
    if found or arguments.format == "json":
        print(render(found, arguments.format))
    return code


def show(arguments: Namespace) -> int:
    """Print the resolved recipe."""
    from runner.language.write import to_yaml

    recipe = _read(arguments)
    if arguments.format == "json":
        _print_json(recipe.values)
    else:
        print(to_yaml(hidden(recipe.values), header=True), end="")
    return 0


def ls(arguments: Namespace) -> int:
    """List the shipped recipes."""
    rows = shipped_files.recipes()
    if arguments.format == "json":
        _print_json([{"name": name, "description": text, "path": str(path)} for name, text, path in rows])
        return 0
    width = max(len(name) for name, _, _ in rows)
    for name, text, _ in rows:
        print(f"{name:<{width}}  {text}")
    return 0


def cp(arguments: Namespace) -> int:
    """Copy a shipped recipe; never over a file."""
    from runner.outputs.files import replace_file

    source = shipped_files.find(arguments.name)
    if source is None:
        names = ", ".join(name for name, _, _ in shipped_files.recipes())
        raise UsageError(f"no shipped recipe is called {shown(arguments.name)!r}: there are {names}")
    target = Path(arguments.file or f"{arguments.name}.yaml")
    if target.is_dir():
        target /= f"{arguments.name}.yaml"
    if os.path.lexists(target):
        raise UsageError(f"{shown(target)} is there already: name another file")
    try:
        replace_file(target, _for_editors(source.read_text("utf-8")).encode())
    except OSError as error:
        raise EnvironmentFault(f"{shown(target)} cannot be written ({error.strerror}): name another file") from None
    print(f"{shown(target)}: try it with  recipe run {shown(target)} --smoke")
    return 0


def _for_editors(text: str) -> str:
    """The recipe with its first line naming the schema where it lies on this machine."""
    schema = shipped_files.folder("schemas") / "recipe.json"
    return text.replace("$schema=../schemas/recipe.json", f"$schema={schema}", 1)


def diff(arguments: Namespace) -> int:
    """Print what differs, key by key."""
    from runner.find import document
    from runner.language import diff as differ
    from runner.language.as_given import meant
    from runner.language.recipe import read

    a, b = (read(document(x))[0] for x in (arguments.a, arguments.b))
    found = differ.differences(meant(a.values, b.document, b.values), meant(b.values, a.document, a.values))
    if arguments.format == "json":
        _print_json([{"key": key, "a": x, "b": y} for key, x, y in found])
    elif not found:
        print("identical")
    else:
        print(redact(differ.render(found)))
    return 0


def schema(arguments: Namespace) -> int:
    """Explain the language."""
    from runner.language import schema_docs

    print(schema_docs.explain(arguments.key, arguments.format))
    return 0


def doctor(arguments: Namespace) -> int:
    """Check the machine."""
    from dataclasses import asdict

    from runner import doctor as examination

    print("looking at versions, imports, devices, disks and the hub …", file=sys.stderr)
    checks = examination.checks(output_dir=Path(arguments.output_dir), cache_dir=_cache(arguments))
    if arguments.format == "json":
        _print_json([asdict(check) for check in checks])
    else:
        print(examination.render(checks))
    return 5 if any(check.status == "fail" for check in checks) else 0


def data(arguments: Namespace) -> int:
    """Look at a recipe's data, or export it."""
    from runner import doctor as examination

    examination.floors()  # before anything old can be imported
    from runner.look import look
    from runner.progress import create

    recipe = _read(arguments)
    if "data" not in recipe.values:
        raise DataError(f"{shown(arguments.recipe)} has no data: add a 'data:' section")
    look(recipe, arguments, create(quiet=arguments.quiet, as_json=False))
    return 0


def _read(arguments: Namespace) -> Recipe:
    """The recipe of the command line; its warnings are printed."""
    recipe, warnings = _checked(arguments)
    _tell(recipe, warnings)
    return recipe


def _checked(arguments: Namespace) -> tuple[Recipe, list[Problem]]:
    """The recipe of the command line, and its warnings."""
    from runner.find import document
    from runner.language.recipe import read

    return read(document(arguments.recipe), arguments.overrides)


def _tell(recipe: Recipe, warnings: list[Problem]) -> None:
    from runner.language.problems import render

    for notice in recipe.document.notices:
        print(f"note: {notice}", file=sys.stderr)
    if warnings:
        print(render(warnings, "text"), file=sys.stderr)


def _cache(arguments: Namespace) -> Path:
    from runner.places import cache_root

    return cache_root(arguments.cache_dir)


def _print_json(value: Any) -> None:
    print(json.dumps(hidden(value), indent=2, ensure_ascii=False))
