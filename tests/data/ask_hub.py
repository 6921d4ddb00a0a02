"""Run in a process of its own (HF_ENDPOINT is read at import): open each section of stdin's JSON list, print what came.

An answer holds what a source told, or the class, exit code and text of the fault it raised.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.hub import commit
from runner.data.source import Source, open_source
from runner.errors import RecipeError
from tests.data.conftest import Remembers


def ask(section: dict[str, Any]) -> dict[str, Any]:
    offline = section.pop("offline", False)
    if section.pop("commit", False):
        return {"commit": commit(section["id"], section["revision"], offline=offline)}
    if section.pop("damage", False):
        for path in Path(os.environ["HF_HOME"]).rglob("*.parquet"):
            path.write_bytes(b"cut short")
    progress = Remembers()
    source: Source = open_source(section, offline=offline)
    listed = {"classes": source.classes, "count": source.count, "fingerprint": source.fingerprint}
    source.fetch(progress)
    items, levels = [], []
    for entry in source:
        items.append([entry.item.name, entry.item.caption, entry.item.label])
        try:
            levels.append(int(np.asarray(entry.load()).max()))
        except RecipeError:
            raise
        except Exception as error:
            levels.append(str(error))
    return {**listed, "counted": source.count, "items": items, "levels": levels, "bars": progress.bars}


def main() -> None:
    answers = []
    for section in json.load(sys.stdin):
        try:
            answers.append(ask(section))
        except RecipeError as error:
            answers.append({"fault": type(error).__name__, "exit": error.exit_code, "text": str(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
