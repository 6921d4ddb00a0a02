"""sample.yaml beside a trained model: a recipe that draws with what was learned."""

from __future__ import annotations

import copy
from typing import Any

from runner.language.write import to_yaml

_COMMENT = "# Draws with what this run has learned: recipe run {folder}/sample.yaml"
_KEYS = ("version", "name", "description", "seed", "model", "sampling", "compute")
_ONLY_IN_TRAINING = ("noise_preview",)
_BASE = (
    *("type", "id", "revision", "subfolder", "variant", "family", "file", "config", "config_revision"),
    *("safety_checker", "vae"),
)


def sample_recipe(values: dict[str, Any], learned: str, folder: str) -> str:
    """The text of a recipe that lies in the run's folder.

    Args:
        values: the settled recipe.
        learned: what was kept, relative to the run's folder: 'model' for a whole model, else the adapter's file.
        folder: the run's folder, to be named in the comment.
    """
    name = f"{values['name'][:57]}-sample"
    recipe = {
        "version": values["version"],
        "name": name,
        "description": f"Draws with what {values['name']} has learned.",
        "seed": values["seed"],
        "model": _model(values, learned),
        "sampling": _sampling(values),
    }
    if "adapter" in values and values["compute"]["dtype"] != "fp32":  # what it was learned beside
        recipe["compute"] = {"dtype": values["compute"]["dtype"]}
    text = to_yaml({key: recipe[key] for key in _KEYS if key in recipe}, header=False)
    return f"{_COMMENT.format(folder=folder)}\n{text}"


def _model(values: dict[str, Any], learned: str) -> dict[str, Any]:
    adapter = values.get("adapter")
    if adapter is None:
        return {"type": "pretrained", "id": f"./{learned}"}
    base = {key: value for key, value in values["model"].items() if key in _BASE and value is not None}
    if adapter["type"] == "textual_inversion":
        return base | {"embeddings": [{"id": f"./{learned}", "token": adapter["token"]}]}
    return base | {"loras": [{"id": f"./{learned}"}]}


def _sampling(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's own section, or one with what it trained on for a prompt."""
    section = copy.deepcopy(values.get("sampling") or {"prompts": [_prompt(values)]})
    if "adapter" in values and "scheduler" in values:  # the base model's own knows nothing of it
        section.setdefault("scheduler", values["scheduler"])
    return {key: value for key, value in section.items() if value not in (None, {}) and key not in _ONLY_IN_TRAINING}


def _prompt(values: dict[str, Any]) -> str:
    data, training = values["data"], values["training"]
    templates = data.get("caption_templates") or []
    plain = [template for template in templates if "{" not in template]
    said = [*(training.get("validation_prompts") or []), data.get("instance_prompt"), *plain, data.get("trigger")]
    return next((text for text in said if text), "a picture")
