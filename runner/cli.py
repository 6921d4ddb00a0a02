"""The `recipe` command: verbs, help and exit codes. The work is done elsewhere, imported when a verb needs it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO, cast

from runner import __version__
from runner.errors import Elsewhere, RecipeError
from runner.language.problems import Format, RecipeProblems, render
from runner.secrets import redact
from runner.shown import shown
from runner.view import Output, let_go

EXIT_CODES = """exit codes:
  0 done   1 the recipe has problems   2 wrong command line   3 data   4 model   5 environment
  6 refused as unsafe   7 checkpoint   8 diverged   129 SIGHUP, 130 SIGINT, 143 SIGTERM (can go on)
  141 closed pipe   70 a bug"""

EXAMPLES = """examples:
  recipe ls                                         what is shipped
  recipe run quickstart                             flowers out of noise, nothing downloaded
  recipe run my.yaml training.batch_size=8          with another value
  recipe run my.yaml --dry-run                      the plan: sizes, memory, files
  recipe run my.yaml --smoke                        a rehearsal in a minute, offline, on a CPU
  recipe validate my.yaml                           every problem with its line and its mend
  recipe schema training.ema                        what a key means

X is a recipe's path, the name of a shipped one, a run's folder (outputs/x/001) or a picture that recipe made."""

_RUN = """Runs a recipe: data, model, training, sampling, as its sections say.
The run's folder is outputs/<name>/<NNN>/. The same command goes on with a run that was interrupted, and so does
recipe run outputs/<name>/<NNN>; a changed recipe is a new run, unless --allow-changes goes on with the old one."""


class _Parser(argparse.ArgumentParser):
    """argparse's own, which repeats the words that are wrong: without secrets."""

    def error(self, message: str) -> NoReturn:
        super().error(redact(message))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="recipe",
        description="Run diffusion image models from a short YAML file: train, sample, share, repeat.",
        epilog=f"{EXAMPLES}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"recipe {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _run_verb(verbs)
    _data_verb(verbs)
    _recipe_verbs(verbs)
    _folders(_verb(verbs, "doctor", "check versions, devices, disk and the hub, with a mend for each fault"))
    return parser


def _verb(verbs: Any, name: str, text: str, formats: Sequence[str] = ("text", "json")) -> argparse.ArgumentParser:
    """A verb with the options that all have; one without `formats` prints text only."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=_RUN if name == "run" else text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXIT_CODES,
    )
    verb.add_argument("--debug", action="store_true", help="show a traceback with an error")
    if formats:
        verb.add_argument("--format", choices=formats, default=formats[0], help="how results are printed")
    return verb


def _run_verb(verbs: Any) -> None:
    run = _verb(verbs, "run", "run a recipe")
    _recipe_arguments(run)
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop before the first step")
    run.add_argument("--smoke", action="store_true", help="rehearse: the same code with toy data, model and counts")
    which = run.add_mutually_exclusive_group()
    which.add_argument("--fresh", action="store_true", help="start anew, even where an interrupted run could go on")
    which.add_argument(
        "--allow-changes",
        action="store_true",
        help="go on with the newest run of this name, finished or not, though its data, or keys that may change, "
        "are not as they were: more steps, sample_steps, sampling, compute, another split of the batch …",
    )
    run.add_argument(
        "--allow-pickle", action="store_true", help="read weights that exist only as pickles (weights_only)"
    )
    _running(run)


def _data_verb(verbs: Any) -> None:
    data = _verb(verbs, "data", "look at a recipe's pictures before training")
    _recipe_arguments(data)
    data.add_argument("--export", metavar="DIR", help="write the pictures as PNG and metadata.jsonl")
    _running(data)


def _recipe_verbs(verbs: Any) -> None:
    """Those that only read recipes."""
    validate = _verb(verbs, "validate", "check recipes: no network, no model, no data", ("text", "json", "github"))
    validate.add_argument("recipes", nargs="+", metavar="X", help="recipes to check")
    _recipe_arguments(_verb(verbs, "show", "print a recipe with every default filled in"))
    _verb(verbs, "ls", "list the shipped recipes")
    cp = _verb(verbs, "cp", "copy a shipped recipe to a file of your own", ())
    cp.add_argument("name", metavar="NAME", help="a shipped recipe, as recipe ls names it")
    cp.add_argument("file", nargs="?", metavar="FILE", help="where to (NAME.yaml in this folder)")
    diff = _verb(verbs, "diff", "what differs between two recipes, runs or pictures")
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    schema = _verb(verbs, "schema", "explain the recipe language, or one key of it")
    schema.add_argument("key", nargs="?", default="", metavar="section.key", help="such as training or data.folder.id")


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="X", help="a recipe's path or name, a run's folder, or a picture")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as training.batch_size=8")


def _running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="never ask the hub; use what is on this machine")
    parser.add_argument("--quiet", action="store_true", help="print results and warnings only")
    _folders(parser)


def _folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", default="outputs", metavar="DIR", help="where runs are kept (outputs)")
    parser.add_argument("--cache-dir", metavar="DIR", help="where prepared data is kept (~/.cache/recipe)")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; overrides may stand before, between and after options."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    arguments.argv = list(argv)
    options = [word for word in rest if word.startswith("-") or not hasattr(arguments, "overrides")]
    if options:
        parser.error(f"unrecognized arguments: {shown(' '.join(options))}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # as stderr: what an encoding lacks is shown escaped
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        try:
            from runner import verbs

            sys.stdout = cast(TextIO, Output(stdout)) if stdout is not None else None  # closed by who started this
            code: int = getattr(verbs, arguments.verb)(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        finally:
            # A display of JSON events keeps it from other writers; what silences a process beside the main one stays.
            if sys.stdout is sys.stderr or isinstance(sys.stdout, Output):
                sys.stdout = stdout
    except RecipeProblems as error:
        _print_problems(error, getattr(arguments, "format", "text"))
        return error.exit_code
    except Elsewhere as error:
        return error.exit_code
    except RecipeError as error:
        return _failed(arguments, str(error), error.exit_code)
    except BrokenPipeError:
        let_go(stdout)
        return 141
    except KeyboardInterrupt:
        return _failed(arguments, "interrupted", 130)
    except MemoryError:
        return _failed(arguments, "the machine is out of memory: end other programs, or take a larger one", 5)
    except Exception as error:
        mend = "" if arguments.debug else "; --debug shows where"
        return _failed(arguments, f"this is a bug in recipe ({type(error).__name__}: {shown(error)}){mend}", 70)


def _print_problems(error: RecipeProblems, format: Format) -> None:
    stream = sys.stderr if format == "text" else sys.stdout
    print(render(error.problems, format), file=stream)


def _failed(arguments: argparse.Namespace, message: str, code: int) -> int:
    message = redact(message)
    if arguments.debug:
        import traceback

        print(redact(traceback.format_exc()), end="", file=sys.stderr)
    if getattr(arguments, "format", "text") == "json":
        print(json.dumps({"event": "error", "text": message, "exit_code": code}))
    else:
        print(f"recipe: {message}", file=sys.stderr)
    return code
