"""Rows SYN: what is no YAML, or no YAML of ours."""

from tests.corpus.table import case, validate


@case("SYN01", "only comments", exits=1, says="the recipe is empty")
def _(folder):
    return validate("# nothing\n")
