"""Python and its packages: installed, new enough, importable, and fitting each other."""

import platform
import re
from typing import Any, Literal

from runner.doctor.check import Check
from runner.doctor.probe import probe
from runner.doctor.versions import MEND_TORCHVISION, Need, installed, misfit, needs

# What is imported to see whether a package works: names that runs use, since libraries load their parts late.
_WORKS = {
    "pillow": ("PIL.Image",),
    "pyyaml": ("yaml",),
    "huggingface-hub": ("huggingface_hub:HfApi",),
    "transformers": ("transformers:CLIPTextModel", "transformers:CLIPImageProcessor"),
    "diffusers": ("diffusers:UNet2DModel", "diffusers:DDPMPipeline", "diffusers:StableDiffusionPipeline"),
}
_EXTRAS = {
    "bitsandbytes": "8-bit Adam",
    "prodigyopt": "the Prodigy optimizer",
    "xformers": "another attention",
}
_BESIDE = ("torchvision", "torchaudio", "flash-attn", "jax", "flax")  # not used, but libraries import them if present


def checks() -> tuple[list[Check], dict[str, Any] | None]:
    """The checks, and what torch says about the devices (None where torch cannot be imported)."""
    required = [need for need in needs() if not need.optional]
    present = {name: version for name in (*_EXTRAS, *_BESIDE) if (version := installed(name)) is not None}
    beside = {need.name: need for need in needs() if need.optional and need.name in present}
    tried = probe([target for need in required if installed(need.name) for target in _targets(need.name)])
    tried_beside = probe([target for name in present for target in _targets(name)])
    broken = [name for name in present if _error(name, tried_beside)]
    found = [Check("python", "ok", f"{platform.python_version()} on {platform.platform()}"), _recipe()]
    found += [_required(need, _error(need.name, tried), broken) for need in required]
    for name, version in present.items():
        need = beside.get(name, Need(name, (), optional=True))
        found.append(_optional(need, version, _error(name, tried_beside), broken))
    missing = [f"{name} ({use})" for name, use in _EXTRAS.items() if name not in present]
    if missing:
        found.append(Check("extras", "ok", f"not installed: {', '.join(missing)}"))
    return found, tried.get("device")


def _recipe() -> Check:
    version = installed("recipe")
    if version is None:
        mend = "run  pip install -e .  in the repository, or  pip install recipe"
        return Check("recipe", "warn", "runs without being installed, so no version can be checked", mend)
    return Check("recipe", "ok", version)


def _required(need: Need, error: str, broken: list[str]) -> Check:
    version = installed(need.name)
    upgrade = f'run  pip install --upgrade "{need.spelled}"'
    if version is None:
        return Check(need.name, "fail", "not installed", upgrade)
    if need.broken(version, upper=False):
        return Check(need.name, "fail", f"{version} is too old", upgrade)
    if error:
        return Check(need.name, "fail", f"{version} cannot be imported: {error}", _mend(need, error, broken))
    if need.broken(version, upper=True):
        return Check(need.name, "warn", f"{version} is newer than what was tested", f"if it fails, {upgrade[5:]}")
    return Check(need.name, "ok", version)


def _optional(need: Need, version: str, error: str, broken: list[str]) -> Check:
    name = need.name
    if name == "torchvision" and (error or misfit()):
        status: Literal["warn", "fail"] = "fail" if error else "warn"
        return Check(name, status, "; ".join(filter(None, [misfit() or version, error])), MEND_TORCHVISION)
    if error:
        return Check(name, "warn", f"{version} cannot be imported: {error}", _mend(need, error, broken))
    if need.broken(version, upper=False):
        return Check(name, "warn", f"{version} is too old", f'run  pip install --upgrade "{need.spelled}"')
    return Check(name, "ok", version)


def _mend(need: Need, error: str, broken: list[str]) -> str:
    """What most likely helps: the package that the error names, else one beside it that is broken too."""
    named = [name for name in (*_BESIDE, *_EXTRAS) if re.search(rf"\b{name.replace('-', '.')}\b", error)]
    culprit = next((name for name in [*named, *broken] if name != need.name), None)
    if culprit == "torchvision":
        return MEND_TORCHVISION
    if culprit:
        return f"run  pip uninstall {culprit}  (recipe works without it), then look again"
    if need.optional:
        return f"run  pip uninstall {need.name}  (recipe works without it), or install it anew"
    return f'run  pip install --force-reinstall "{need.spelled}"'


def _targets(name: str) -> tuple[str, ...]:
    return _WORKS.get(name.lower(), (name.replace("-", "_"),))


def _error(name: str, tried: dict[str, Any]) -> str:
    return next((tried[target] for target in _targets(name) if tried.get(target)), "")
