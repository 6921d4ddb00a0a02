"""What a word that is none of the choices probably means: a choice, or the keys that say the same here."""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple

from runner.language import schemas
from runner.language.schemas import Place, Schema
from runner.language.write import to_yaml

_SAMPLERS = "scheduler/sampler.json"
# What InvokeAI, ComfyUI and k-diffusion put round the names of samplers, in letters.
_PREFIXES, _ENDINGS = ("", "sample", "k", "samplek"), ("", "gpu")


class Meaning(NamedTuple):
    """What a word stands for.

    Attributes:
        value: a choice, or keys with their values where one choice does not say it all.
        exact: whether it is another name for this, rather than letters that look alike.
        equal: whether this does the same, rather than what is nearest to it.
    """

    value: Any
    exact: bool = True
    equal: bool = True

    @property
    def keys(self) -> str:
        """As it is written for a section: '{type: DDIM}'."""
        return inline({"type": self.value} if isinstance(self.value, str) else self.value)


def meant(word: str, schema: Schema) -> Meaning | None:
    """The choice of this schema's `enum` that the word means, by its `x-values`, by letters, or by likeness."""
    choices = [str(choice) for choice in schema.get("enum", [])]
    plain = letters(word)
    for name, value in [*((c, c) for c in choices), *schema.get("x-values", {}).items()]:
        if letters(name) == plain:
            return Meaning(value)
    if "x-suffixes" in schema and (sampler := _sampler(plain, schema, choices)):
        return sampler
    close = difflib.get_close_matches(plain, [letters(c) for c in choices], n=1, cutoff=0.6)
    return next((Meaning(c, exact=False) for c in choices if close and letters(c) == close[0]), None)


def sampler_meant(word: str) -> Meaning | None:
    """The sampler of this name in web UIs, ComfyUI, InvokeAI, k-diffusion or diffusers; None for no such name."""
    found = meant(word, schemas.read(_SAMPLERS)["properties"]["type"])
    return found if found and found.exact else None


def inline(value: dict[str, Any]) -> str:
    """A small mapping as YAML on one line."""
    return "{" + ", ".join(to_yaml({k: v}, header=False).strip() for k, v in value.items()) + "}"


def letters(word: str) -> str:
    """Without case, spaces, dashes and the class name's ending: 'DDIMScheduler' is 'ddim', 'DPM++ 2M' is 'dpmpp2m'."""
    return re.sub(r"[\s_-]", "", word.lower()).replace("++", "pp").removesuffix("scheduler")


def _sampler(plain: str, schema: Schema, choices: list[str]) -> Meaning | None:
    """A name put together from a sampler and a spacing of its noise levels, as 'DPM++ 2M SDE Karras' is."""
    equal = {letters(name): value for name, value in [*((c, c) for c in choices), *schema["x-values"].items()]}
    names = {letters(name): (value, False) for name, value in schema["x-nearest"].items()}
    names |= {name: (value, True) for name, value in equal.items()}
    suffixes = {"": {}} | {letters(name): options for name, options in schema["x-suffixes"].items()}
    for prefix in _PREFIXES:
        for suffix, options in suffixes.items():
            for ending in _ENDINGS:
                base = plain.removeprefix(prefix).removesuffix(suffix).removesuffix(ending)
                if base in names and prefix + base + ending + suffix == plain:
                    return _with_options(*names[base], options)
    return None


def _with_options(value: Any, equal: bool, options: dict[str, Any]) -> Meaning:
    whole = {"type": value} if isinstance(value, str) else dict(value)
    known = schemas.properties(schemas.fragments([Place(_SAMPLERS, schemas.read(_SAMPLERS))], whole))
    spaced = any(key.endswith("_sigmas") for key in whole)  # as 'Restart' is; there is one spacing
    taken = {key: option for key, option in options.items() if key in known and not spaced}
    whole |= taken
    # DPMSolverSinglestep has no timestep_spacing: it always takes what the others call linspace.
    equal = equal and set(options) - set(taken) <= {"timestep_spacing"} and bool(taken) == bool(options)
    return Meaning(whole if len(whole) > 1 else whole["type"], equal=equal)
