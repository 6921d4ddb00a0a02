"""The README.md beside a trained model: what it is, what made it, how to draw with it again."""

import json
import re
from collections.abc import Mapping
from typing import Any

from runner.shown import shown

_MARKED = re.compile(r"([\\`*_\[\]<>#&|~])")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DATA = {"builtin": "pictures that recipe draws itself", "folder": "a folder of pictures"}
_PIPELINE = ("DiffusionPipeline", "pipeline", "")
_CLASSES = ("UNet2DModel", "unet", ', subfolder="unet"')  # no pipeline of diffusers draws pixels of a class


def card(recipe: Mapping[str, Any], versions: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """A model card in the hub's form: front matter, then one screen of text.

    Args:
        recipe: the settled recipe, with ids as they were given.
        versions: package versions, as `record.versions` gives them.
        facts: more rows for the table, as "Parameters": "1,512,003".
    """
    data, training = recipe.get("data", {}), recipe.get("training", {})
    rows = {"Data": _data(data), **({"Resolution": f"{data['resolution']} px"} if "resolution" in data else {})}
    if training:
        rows |= {"Batch size": _text(training.get("batch_size")), "Learning rate": _text(training.get("learning_rate"))}
    rows |= {"Seed": _text(recipe.get("seed")), **{_text(key): _text(value) for key, value in facts.items()}}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    loader, variable, where = _CLASSES if recipe.get("model", {}).get("num_class_embeds") else _PIPELINE
    made = ", ".join(f"{_text(name)} {_text(version)}" for name, version in versions.items())
    return f"""---
{_front_matter(recipe)}
---

# {_text(recipe["name"])}

{_text(recipe.get("description") or "A diffusion model made with recipe.")}

| | |
|---|---|
{table}

Draw with it again: `model: {{type: pretrained, id: PATH_OF_THIS_FOLDER}}` in a recipe, or in Python

```python
from diffusers import {loader}

{variable} = {loader}.from_pretrained("PATH_OF_THIS_FOLDER"{where})
```

The whole recipe is settled.yaml in the run's folder. Nobody has chosen a licence for these weights yet; the terms of
the data go on applying.

Made with {made}.
"""


def _front_matter(recipe: Mapping[str, Any]) -> str:
    """YAML whose strings are JSON's, which every YAML reader takes as they are."""
    lines = ["license: unknown", "library_name: diffusers"]
    data, model = recipe.get("data", {}), recipe.get("model", {})
    if data.get("type") == "hub" and _HUB_ID.fullmatch(data["id"]):
        lines.append(f"datasets: [{json.dumps(data['id'])}]")
    if model.get("type") == "pretrained" and _HUB_ID.fullmatch(model["id"]):
        lines.append(f"base_model: {json.dumps(model['id'])}")
    kind = "text-to-image" if model.get("type") == "pretrained" else "unconditional-image-generation"
    return "\n".join([*lines, f"pipeline_tag: {kind}", f"tags: [diffusion, {kind}, recipe]"])


def _data(data: Mapping[str, Any]) -> str:
    """What the data is; the path of a folder is nobody else's business."""
    if data.get("type") == "hub":
        return f"the data set {_text(data['id'])}" if _HUB_ID.fullmatch(data["id"]) else "parquet files"
    return _DATA.get(data.get("type", ""), "none")


def _text(value: object) -> str:
    """Text from outside that Markdown shows as it is."""
    return _MARKED.sub(r"\\\1", shown(value, 1000))
