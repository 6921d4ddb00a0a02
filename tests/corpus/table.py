"""The corpus: faults and bad inputs by the number of their row, each with what must happen, as one table.

A case is a function that makes the input in an empty working directory and says what became of it:

    @case("SYN01", "only comments", exits=1, says="the recipe is empty")
    def _(folder):
        return validate("# nothing")
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from runner.cli import main
from tests.conftest import ROOT


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and all that it said."""

    code: int
    text: str

    @property
    def sentence(self) -> str:
        """The first error, or else the last line that says something."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"recipe: |\S+:\d+:\d+: ", line)]
        return next(iter(errors or lines[::-1]), "")


@dataclass(frozen=True)
class Case:
    """A fault or a bad input.

    Attributes:
        row: the number of its row.
        what: it, in some words.
        exits: the exit codes that are right.
        says: a pattern that what is said must hold.
        run: makes and tries it in an empty working directory; asserts what must not be lost or happen.
        slow: takes more than about twenty seconds.
    """

    row: str
    what: str
    exits: tuple[int, ...]
    says: str
    run: Callable[[Path], Outcome]
    slow: bool = False

    def check(self, outcome: Outcome) -> None:
        """That it ended as it must: with the right code and sentence, and without a traceback."""
        assert "Traceback" not in outcome.text and "this is a bug" not in outcome.text, outcome.text
        assert outcome.code in self.exits, outcome.text
        assert re.search(self.says, outcome.text), outcome.text


CASES: list[Case] = []
ELSEWHERE: dict[str, str] = {}
RESULT = "corpus"  # the property of a test's report that tells its row, its words and how it ended


def load() -> None:
    """Enters the cases of every module of rows."""
    import tests.corpus

    for module in pkgutil.iter_modules(tests.corpus.__path__, "tests.corpus."):
        if module.name.rpartition(".")[2].startswith("rows_"):
            importlib.import_module(module.name)


def case(
    row: str, what: str, *, exits: int | tuple[int, ...], says: str = "", slow: bool = False
) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    """Enters a function in the table; a row may have several."""

    def enter(run: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        CASES.append(Case(row, what, exits if isinstance(exits, tuple) else (exits,), says, run, slow))
        return run

    return enter


def not_here(row: str, why: str) -> None:
    """A row, or a part of it, that cannot be run on such a machine or means nothing here, and why."""
    ELSEWHERE[row] = why


def recipe(*argv: object) -> Outcome:
    """The command, in this process."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
    return Outcome(code, said.getvalue())


def process(*argv: object, **options: object) -> Outcome:
    """The command in a process of its own, for what would outlive a case in this one."""
    command = [sys.executable, "-m", "runner", *map(str, argv)]
    options = {"env": None, "timeout": 120, **options}
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    return Outcome(ended.returncode, ended.stdout.decode("utf-8", "replace"))


def write(content: str | bytes | dict, name: str = "recipe.yaml") -> Path:
    """A recipe's file in the working directory."""
    path = Path(name)
    text = yaml.safe_dump(content, allow_unicode=True) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def validate(content: str | bytes | dict) -> Outcome:
    """What `recipe validate` makes of a text."""
    return recipe("validate", write(content))


def told(row: str, what: str, content: str | bytes | dict, says: str, *, exits: int = 1) -> None:
    """Enters a text with what `recipe validate` must say of it."""

    @case(row, what, exits=exits, says=says)
    def _(folder: Path) -> Outcome:
        outcome = validate(content)
        assert not re.search("[\x00\x1b\x9b\u2028\u202e]", outcome.text)  # the terminal's state is not touched
        return outcome


def run(content: str | bytes | dict, *arguments: object) -> Outcome:
    """What `recipe run` makes of a text."""
    return recipe("run", write(content), *arguments)


def toy(**sections: dict) -> dict:
    """A training run of seconds: a few small flowers and a tiny UNet; `sections` are laid over its own."""
    blocks = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
    blocks |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    base = {
        "version": 1,
        "name": "toy",
        "seed": 1,
        "data": {"type": "builtin", "num_images": 8, "resolution": 16},
        "model": {"type": "pixel_unet", **blocks},
        "scheduler": {"type": "DDPM"},
        "training": {"max_train_steps": 4, "batch_size": 2, "learning_rate": 1e-3, "logging_steps": 1},
        "sampling": {"num_images": 1, "num_inference_steps": 2},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section} if isinstance(section, dict) else section
    return base


CSV = ROOT.parent / "shared" / "corpus.csv"
