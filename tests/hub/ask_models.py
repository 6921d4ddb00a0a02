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


def loaded(files: Any, name: str | None, offline: bool) -> dict[str, Any]:
    """The model's parts by the digests of their weights, those of a checkpoint `name` where there is one."""
    import torch

    from runner.models.family import Facts
    from runner.models.index import family_of, read_index
    from runner.models.load_single import load_single
    from runner.models.parts import find_part, load_part
    from runner.models.single_file import open_checkpoint

    if name:
        files = open_checkpoint(files, name, None, offline=offline, allow_pickle=False)
    index = read_index(files)
    found = {n: find_part(files, n, cls, variant=None, allow_pickle=False) for n, (_, cls) in index.parts.items()}
    before, progress = kept(), Remembers()
    if name:
        configs = {n: config for n, (_, config) in found.items()}
        parts = {n: part for n, (part, _) in found.items()}
        facts = Facts(family_of(files, "auto"), configs, parts=parts, pipeline=index.pipeline, checkpoint=files.part)
        models = load_single(facts, progress, dtype=torch.float32)
    else:
        models = {
            n: load_part(part, part.files.fetch(part.names, progress), dtype=torch.float32)
            for n, (part, _) in found.items()
        }
    digests = {n: digest(model) for n, model in models.items() if isinstance(model, torch.nn.Module)}
    return {"parts": digests, "before": before, "origin": files.origin, "bars": progress.bars}


def digest(model: Any) -> str:
    """A model's weights in one number."""
    from hashlib import sha256

    whole = sha256()
    for key, tensor in sorted(model.state_dict().items()):
        whole.update(key.encode() + tensor.numpy().tobytes())
    return whole.hexdigest()


def ask(question: dict[str, Any]) -> dict[str, Any]:
    for name, text in question.pop("spoil", {}).items():
        for path in Path(os.environ["HF_HOME"]).rglob(f"snapshots/*/{name}"):
            path.resolve().write_bytes(text.encode())
    names, wanted, start, load = (question.pop(key, None) for key in ("fetch", "json", "start", "load"))
    options = {"key": "model.id", **question}
    files = open_files(options.pop("id"), base=Path("/nowhere"), **options)
    answer = {"revision": files.revision, "sizes": dict(files.sizes), "origin": files.origin}
    if wanted:
        answer["json"] = files.json(wanted)
    if start:
        answer["start"] = files.start(*start).decode("latin-1")
    if load:
        answer |= loaded(files, load["file"], question.get("offline", False))
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
