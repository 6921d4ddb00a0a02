"""Rules of secrets: a recipe is made to be shown to others."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.document import dotted
from runner.language.view import Rule, Told, View, rule, steps
from runner.secrets import holds_token


@rule("secret")
def recipes_hold_no_tokens(view: View) -> Iterator[Told]:
    for path, text in view.texts():
        if holds_token(text):
            what = "is the word that calls the embedding in prompts" if path.endswith(".token") else "holds a token"
            mend = "recipes hold no secrets: take it out, 'hf auth login' keeps the hub's token"
            yield Told(path, f"{dotted(steps(path))} {what}; {mend}")


RULES: list[Rule] = [recipes_hold_no_tokens]
