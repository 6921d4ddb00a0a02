"""A model that exists: inspected, with all that the recipe lays over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import ModelError
from runner.language.document import Steps, dotted
from runner.language.problems import RecipeProblems
from runner.models import family_class
from runner.models.extras import check_extra
from runner.models.family import Extra, Facts, Part
from runner.models.files import Files, Single
from runner.models.index import family_of
from runner.models.parts import find_part
from runner.models.single_file import open_checkpoint
from runner.models.weights import PICKLES
from runner.settle.given import Given
from runner.shown import shown

_SUFFIXES = (".safetensors", *PICKLES)
_CHECKER = ("safety_checker", "feature_extractor")


def saved_model(given: Given) -> Facts:
    """The facts of the pretrained model, with all that the recipe lays over it."""
    section = given.values["model"]
    files = _model_files(given)
    section["family"] = family_of(files, section["family"])
    family = family_class(section["family"])
    facts: Facts = family.inspect(files, variant=section["variant"], allow_pickle=given.allow_pickle)
    facts = _safety(given, facts)
    if "vae" in section:
        facts = _other_vae(given, facts)
    return replace(facts, embeddings=_extras(given, "embeddings"), loras=_extras(given, "loras"))


def _model_files(given: Given) -> Files:
    """A model's folder or repository, or the single file in it with the configuration that describes it."""
    section = given.values["model"]
    files = given.files(("model",))
    name = Path(section["id"]).name if isinstance(files, Single) else section["file"]
    if name is None:
        return files
    config = given.files(("model",), key="config") if section["config"] is not None else None
    options = {"revision": section["config_revision"], "offline": given.offline, "allow_pickle": given.allow_pickle}
    checkpoint = open_checkpoint(files, name, config, **options)
    section["config"] = section["config"] or checkpoint.origin
    section["config_revision"] = checkpoint.revision
    return checkpoint


def _safety(given: Given, facts: Facts) -> Facts:
    """Settles model.safety_checker; a checker that the recipe does without is no part of the model."""
    section = given.values["model"]
    wanted, there = section["safety_checker"], "safety_checker" in facts.parts
    if wanted is True and not there:
        message = f"{shown(section['id'])} ships no safety checker: write auto or false"
        raise RecipeProblems([given.recipe.problem(("model", "safety_checker"), "safety-checker", message)])
    section["safety_checker"] = there if wanted == "auto" else wanted
    if section["safety_checker"] or not there:
        return facts
    parts = {name: part for name, part in facts.parts.items() if name not in _CHECKER}
    configs = {name: config for name, config in facts.configs.items() if name not in _CHECKER}
    return replace(facts, parts=parts, configs=configs)


def _other_vae(given: Given, facts: Facts) -> Facts:
    if "vae" not in facts.configs:
        message = f"a {facts.family} has no VAE to replace"
        raise RecipeProblems([given.recipe.problem(("model", "vae"), "vae", message)])
    part, config = vae(given)
    wanted, found = (c.get("latent_channels", 4) for c in (facts.configs["vae"], config))
    if wanted != found:
        raise ModelError(
            f"model.vae has {found} latent channels and {shown(facts.family)} needs {wanted}: take one made for it"
        )
    return replace(facts, parts={**facts.parts, "vae": part}, configs={**facts.configs, "vae": config})


def vae(given: Given) -> tuple[Part, dict[str, Any]]:
    """The VAE that `model.vae` names: its files, and its configuration."""
    section = given.values["model"]["vae"]
    files = given.files(("model", "vae"))
    folder = "" if "config.json" in files.sizes else "vae"
    options = {"variant": section["variant"], "allow_pickle": given.allow_pickle, "folder": folder}
    return find_part(files, "vae", "AutoencoderKL", **options)


def _extras(given: Given, key: str) -> tuple[Extra, ...]:
    """What model.embeddings or model.loras lay over the model."""
    found = []
    for i, entry in enumerate(given.values["model"][key]):
        files, name = _one_file(given, entry, ("model", key, i))
        check_extra(files, name, allow_pickle=given.allow_pickle)
        found.append(Extra(files, name, **{option: entry[option] for option in ("token", "weight") if option in entry}))
    return tuple(found)


def _one_file(given: Given, entry: dict[str, Any], path: Steps) -> tuple[Files, str]:
    """The file that an entry means: the one it names, or the only one there is.

    Raises:
        ModelError: it is not there, or several could be meant.
    """
    files = given.files(path)
    there = [name for name in files.sizes if name.endswith(_SUFFIXES)]
    safe = [name for name in there if name.endswith(".safetensors")]
    if entry.get("file") is not None:
        if entry["file"] not in files.sizes:
            known = ", ".join(map(shown, (safe or there)[:8])) or "no weights"
            raise ModelError(f"{dotted(path)}: {shown(files.origin)} has no {shown(entry['file'])}; it has {known}")
        return files, entry["file"]
    candidates = safe or there
    if len(candidates) != 1:
        known = f"{len(candidates)} files ({', '.join(map(shown, candidates[:4]))} …)" if candidates else "none"
        raise ModelError(f"{dotted(path)}: name the file of {shown(files.origin)} with 'file:': it holds {known}")
    return files, candidates[0]
