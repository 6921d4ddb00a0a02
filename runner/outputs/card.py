"""The README.md beside a trained model: what it is, what made it, how to draw with it again."""

import json
import re
from collections.abc import Mapping
from typing import Any

from runner.shown import shown

_MARKED = re.compile(r"[\\`*_\[\]<>#&|~$@]|:(?=//)|(?<=www)\.")  # the last two: bare addresses become links
_BLOCK = re.compile(r"^(\d*)([-+=.)])")  # how a list or the underline of a heading begins
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DATA = {"builtin": "pictures that recipe draws itself", "folder": "a folder of pictures"}
_HERE = "PATH_OF_THIS_FOLDER"


def card(recipe: Mapping[str, Any], versions: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """A model card in the hub's form: front matter, then one screen of text.

    Args:
        recipe: the settled recipe, with ids as they were given.
        versions: package versions, as `record.versions` gives them.
        facts: more rows for the table, as "Parameters": "1,512,003".
    """
    data, training = recipe.get("data", {}), recipe.get("training", {})
    rows = {"Data": _data(data), **({"Resolution": f"{_text(data['resolution'])} px"} if "resolution" in data else {})}
    if training:
        rows |= {"Batch size": _text(training.get("batch_size")), "Learning rate": _text(training.get("learning_rate"))}
    rows |= {"Seed": _text(recipe.get("seed")), **{_text(key): _text(value) for key, value in facts.items()}}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    made = ", ".join(f"{_text(name)} {_text(version)}" for name, version in versions.items())
    return f"""---
{_front_matter(recipe)}
---

# {_text(recipe["name"])}

{_paragraph(recipe.get("description") or "A diffusion model made with recipe.")}

| | |
|---|---|
{table}

Use it again: `{_in_a_recipe(recipe)}` in a recipe, or in Python

```python
{_in_python(recipe)}
```

The whole recipe is settled.yaml in the run's folder. Nobody has chosen a licence for these weights yet; the terms of
the data go on applying.

Made with {made}.
"""


def _in_a_recipe(recipe: Mapping[str, Any]) -> str:
    """The lines of a recipe that use what was learned."""
    adapter, model = recipe.get("adapter"), recipe.get("model", {})
    if model.get("type") == "autoencoder_kl":
        return f"model: {{type: latent_unet, vae: {{id: {_HERE}}}}}"
    if adapter is None:
        return f"model: {{type: pretrained, id: {_HERE}}}"
    key = "loras" if adapter["type"] == "lora" else "embeddings"
    return f"model: {{type: pretrained, id: {_base(model)}, {key}: [{{id: {_HERE}}}]}}"


def _in_python(recipe: Mapping[str, Any]) -> str:
    """How diffusers loads what was learned."""
    adapter, model = recipe.get("adapter"), recipe.get("model", {})
    if model.get("type") == "autoencoder_kl":
        return f'from diffusers import AutoencoderKL\n\nvae = AutoencoderKL.from_pretrained("{_HERE}")'
    if model.get("num_class_embeds"):  # no pipeline of diffusers draws pixels of a class
        load = f'unet = UNet2DModel.from_pretrained("{_HERE}", subfolder="unet")'
        return f"from diffusers import UNet2DModel\n\n{load}"
    base = _HERE if adapter is None else _base(model)
    lines = ["from diffusers import DiffusionPipeline", "", f'pipeline = DiffusionPipeline.from_pretrained("{base}")']
    if adapter is not None and adapter["type"] == "lora":
        lines.append(f'pipeline.load_lora_weights("{_HERE}", weight_name="pytorch_lora_weights.safetensors")')
    elif adapter is not None:
        token = json.dumps(shown(adapter["token"]))
        lines.append(f'pipeline.load_textual_inversion("{_HERE}/learned_embeds.safetensors", token={token})')
    return "\n".join(lines)


def _base(model: Mapping[str, Any]) -> str:
    """The model that an adapter goes with; the path of a folder is nobody else's business."""
    return model["id"] if _HUB_ID.fullmatch(str(model.get("id"))) else "THE_BASE_MODEL"


def _front_matter(recipe: Mapping[str, Any]) -> str:
    """YAML whose strings are JSON's, which every YAML reader takes as they are."""
    lines = ["license: unknown", "library_name: diffusers"]
    data, model = recipe.get("data", {}), recipe.get("model", {})
    if data.get("type") == "hub" and _HUB_ID.fullmatch(data["id"]):
        lines.append(f"datasets: [{json.dumps(data['id'])}]")
    if model.get("type") == "pretrained" and _HUB_ID.fullmatch(model["id"]):
        lines.append(f"base_model: {json.dumps(model['id'])}")
    kind = "unconditional-image-generation" if model.get("type") == "pixel_unet" else "text-to-image"
    return "\n".join([*lines, f"pipeline_tag: {kind}", f"tags: [diffusion, {kind}, recipe]"])


def _data(data: Mapping[str, Any]) -> str:
    """What the data is; the path of a folder is nobody else's business."""
    if data.get("type") == "hub":
        return f"the data set {_text(data['id'])}" if _HUB_ID.fullmatch(data["id"]) else "parquet files"
    return _DATA.get(data.get("type", ""), "none")


def _text(value: object) -> str:
    """Text from outside that Markdown shows as it is."""
    return _MARKED.sub(r"\\\g<0>", shown(value, 1000).strip())


def _paragraph(value: object) -> str:
    """As `_text`, for a line of its own."""
    return _BLOCK.sub(r"\1\\\2", _text(value))
