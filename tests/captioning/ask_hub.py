"""Run in a process of its own (HF_ENDPOINT is read at import): caption a folder with a model of the hub, as JSON."""

import json
import os
import sys
from pathlib import Path

from runner.captioning import caption, inspect
from runner.models.files import missing, open_files
from runner.signals import Stop
from tests.captioning.conftest import Remembers, around, source_of

if __name__ == "__main__":
    data, folder, offline = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "offline"
    files = open_files("me/blip", base=data, key="data.caption.id", offline=offline)
    facts = inspect(files, allow_pickle=False)
    home = Path(os.environ["HF_HOME"])
    looked = {
        "parameters": facts.parameters,
        "missing": missing(files, facts.names),
        "kept": [str(path) for path in home.rglob("*")],
    }
    section = {"caption": {"prompt": None, "overwrite": False, "batch_size": 2, "max_new_tokens": 8}}
    (folder / "run").mkdir(parents=True)
    where = around(folder, folder / "run", Remembers(), Stop("again"))
    source = caption(source_of(data), facts, section, where)
    captions = {entry.item.name: entry.item.caption for entry in source}
    snapshot = files.fetch((), Remembers())
    print(json.dumps({**looked, "captions": captions, "here": sorted(path.name for path in snapshot.iterdir())}))
