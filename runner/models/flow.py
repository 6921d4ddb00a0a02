"""Drawing a flow matching model with a solver that diffusers made for noise: what it takes, and what gets lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runner.language.rules_flow import FLOW_KEYS, FLOW_SOLVERS, flow_section
from runner.models.family import Facts, Misfit

if TYPE_CHECKING:
    from runner.models.described import Described


def flow_misfits(family: type[Described], facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
    """What keeps the section's sampler from drawing a flow, or the model from being drawn as one."""
    section = sampling.get("scheduler") or {}
    asked = [key for key, word in FLOW_KEYS.items() if str(section.get(key)).lower() == word]
    if "FlowMatchEulerDiscrete" not in family.SCHEDULERS:
        for key in asked[:1]:
            message = f"{key}: {FLOW_KEYS[key]} is of flow matching models; a {facts.family} is none: take it out"
            yield Misfit(f"scheduler.{key}", "scheduler-of-another-kind", message)
        return
    kind = section.get("type")
    if kind not in FLOW_SOLVERS:
        return
    if family.task(sampling) != "text2img":
        message = f"{kind} draws a {facts.family} model from text alone: with init_image use FlowMatchEulerDiscrete"
        yield Misfit("scheduler.type", "not-of-this-task", message)
    elif len(asked) < len(FLOW_KEYS):
        wanted = flow_section(kind, _own_shift(family, facts, kind))
        message = f"{kind} draws no {facts.family} model without its keys: write {wanted}"
        yield Misfit("scheduler.type", "scheduler-of-another-kind", message)
    else:
        yield from _shift(family, facts, section)


def lost_shift(facts: Facts, sampling: dict[str, Any]) -> Iterator[str]:
    """A sentence if the model's own shift is left out; diffusers carries over none, as the key has another name."""
    section, shift = sampling.get("scheduler") or {}, facts.configs["scheduler"].get("shift", 1.0)
    fixed = section.get("use_flow_sigmas") and not _by_size(facts, section)
    if fixed and "flow_shift" not in section and shift != 1:
        yield (
            f"{section['type']} draws with flow_shift: 1.0, and the model's own scheduler has shift: {shift}: "
            f"flow_shift: {shift} keeps it"
        )


def _by_size(facts: Facts, section: dict[str, Any]) -> bool:
    """Whether the scheduler is shifted by the picture's size; that key is carried over."""
    return bool(section.get("use_dynamic_shifting", facts.configs["scheduler"].get("use_dynamic_shifting")))


def _needs_size(family: type[Described], kind: str) -> bool:
    """Whether the family's pipeline hands the scheduler a shift that the class takes in no other way."""
    return family.GIVES_SHIFT and kind != "UniPCMultistep"


def _own_shift(family: type[Described], facts: Facts, kind: str) -> str:
    """The key that shifts such a solver as the model's own scheduler is, or as near as diffusers can."""
    if _by_size(facts, {}) or _needs_size(family, kind):
        return "use_dynamic_shifting: true"
    return f"flow_shift: {facts.configs['scheduler'].get('shift', 1.0)}"


def _shift(family: type[Described], facts: Facts, section: dict[str, Any]) -> Iterator[Misfit]:
    """The shifts that diffusers refuses, without a word of why."""
    kind, by_size = section["type"], _by_size(facts, section)
    if _needs_size(family, kind) and not by_size:
        message = (
            f"{kind} draws a {facts.family} model only with use_dynamic_shifting: true: add it, or use UniPCMultistep"
        )
        key = "use_dynamic_shifting" if "use_dynamic_shifting" in section else "type"
        yield Misfit(f"scheduler.{key}", "scheduler-options", message)
    elif by_size and kind != "UniPCMultistep" and facts.configs["scheduler"].get("time_shift_type") == "linear":
        message = f"{kind} knows no time_shift_type: linear, which the model's own scheduler has: use UniPCMultistep"
        yield Misfit("scheduler.type", "scheduler-options", message)
