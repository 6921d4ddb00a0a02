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


def share(source: Source, rank: int, processes: int, limit: int | None) -> Any:
    """Place, name and level of each picture of a process's share, or the fault that it meets."""
    try:
        entries = source.part(rank, processes, limit)
        return [[*place, entry.item.name, int(np.asarray(entry.load()).max())] for place, entry in entries]
    except RecipeError as error:
        return str(error)


def ask(section: dict[str, Any]) -> dict[str, Any]:
    offline = section.pop("offline", False)
    if section.pop("commit", False):
        return {"commit": commit(section["id"], section["revision"], offline=offline)}
    if section.pop("damage", False):
        for path in Path(os.environ["HF_HOME"]).rglob("*.parquet"):
            path.write_bytes(b"cut short")
    processes, limit = section.pop("processes", None), section.pop("max_images", None)
    progress = Remembers()
    source: Source = open_source(section, offline=offline)
    if processes is not None:
        return {"shares": [share(source, rank, processes, limit) for rank in range(processes)]}
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
