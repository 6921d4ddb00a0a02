"""Rules that tie several keys together. They need no torch, no model and no data.

A rule says nothing about keys that are broken already: asking the View for one ends it quietly.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.language import (
    rules_adapter,
    rules_captions,
    rules_compute,
    rules_files,
    rules_learning,
    rules_matrix,
    rules_model,
    rules_pretrained,
    rules_processes,
    rules_prompts,
    rules_sampler,
    rules_sampling,
    rules_schedule,
    rules_secrets,
    rules_sections,
    rules_training,
)
from runner.language.document import Document, Steps
from runner.language.resolve import resolve
from runner.language.sentences import Finding
from runner.language.view import Broken, Rule, View, steps

RULES: list[Rule] = [
    *rules_sections.RULES,
    *rules_files.RULES,
    *rules_secrets.RULES,
    *rules_model.RULES,
    *rules_schedule.RULES,
    *rules_training.RULES,
    *rules_learning.RULES,
    *rules_adapter.RULES,
    *rules_captions.RULES,
    *rules_compute.RULES,
    *rules_processes.RULES,
    *rules_sampling.RULES,
    *rules_sampler.RULES,
    *rules_pretrained.RULES,
    *rules_prompts.RULES,
    *rules_matrix.RULES,
]


def broken_rules(document: Document, broken: set[Steps]) -> Iterator[Finding]:
    """What the rules find.

    Args:
        document: a document that was read.
        broken: places that have problems already; () where a top-level key is unknown.
    """
    view = View(document, resolve(document), broken)
    for name, function in RULES:
        told: set[str] = set()
        try:
            for path, message, severity in function(view):
                # One place may break a rule with several samplers: the first says it.
                if path not in told:
                    yield Finding(steps(path), name, message, severity)
                told.add(path)
        except Broken:
            continue
