"""Rules that tie several keys together. They need no torch, no model and no data.

A rule says nothing about keys that are broken already: asking the View for one ends it quietly.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.language import rules_model, rules_sampling, rules_schedule, rules_sections, rules_training
from runner.language.document import Document, Steps
from runner.language.resolve import resolve
from runner.language.sentences import Finding
from runner.language.view import Broken, Rule, View, steps

RULES: list[Rule] = [
    *rules_sections.RULES,
    *rules_model.RULES,
    *rules_schedule.RULES,
    *rules_training.RULES,
    *rules_sampling.RULES,
]


def broken_rules(document: Document, broken: set[Steps]) -> Iterator[Finding]:
    """What the rules find.

    Args:
        document: a document that was read.
        broken: places that have problems already; () where a top-level key is unknown.
    """
    view = View(document, resolve(document), broken)
    for name, function in RULES:
        try:
            for path, message, severity in function(view):
                yield Finding(steps(path), name, message, severity)
        except Broken:
            continue
