"""Run in a process of its own (HF_ENDPOINT is read at import): do with models what stdin's JSON list says.

An answer holds what came, or the class, exit code and text of the fault that was raised.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from runner.errors import RecipeError
from runner.models.files import missing, open_files
from tests.data.conftest import Remembers


def kept() -> list[str]:
    """Every file below the hub's folder on this machine, but for its locks."""
    home = Path(os.environ["HF_HOME"])
    found = (path for path in home.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return sorted(path.relative_to(home).as_posix() for path in found)


def ask(question: dict[str, Any]) -> dict[str, Any]:
    for name, text in question.pop("spoil", {}).items():
        for path in Path(os.environ["HF_HOME"]).rglob(f"snapshots/*/{name}"):
            path.resolve().write_bytes(text.encode())
    names, wanted, start = (question.pop(key, None) for key in ("fetch", "json", "start"))
    options = {"key": "model.id", **question}
    files = open_files(options.pop("id"), base=Path("/nowhere"), **options)
    answer = {"revision": files.revision, "sizes": dict(files.sizes), "origin": files.origin}
    if wanted:
        answer["json"] = files.json(wanted)
    if start:
        answer["start"] = files.start(*start).decode("latin-1")
    if names:
        progress = Remembers()
        answer["missing"] = missing(files, names)
        root = files.fetch(names, progress)
        answer["data"] = {name: (root / name).read_bytes().decode("latin-1") for name in names}
        answer |= {"bars": progress.bars, "warnings": progress.warnings, "still": missing(files, names)}
    return {**answer, "kept": kept()}


def main() -> None:
    answers = []
    for question in json.load(sys.stdin):
        try:
            answers.append(ask(question))
        except RecipeError as error:
            answers.append({"fault": type(error).__name__, "exit": error.exit_code, "text": str(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
