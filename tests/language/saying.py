"""What is said of a recipe's text."""

from runner.language.load import parse
from runner.language.problems import RecipeProblems
from runner.language.recipe import read


def found(text: str, overrides: list[str]) -> list[tuple[str, str, str]]:
    """(severity, path, message) of everything that is said."""
    try:
        problems = read(parse(text, "trial.yaml"), overrides)[1]
    except RecipeProblems as error:
        problems = error.problems
    return [(p.severity, ".".join(map(str, p.path)), p.message) for p in problems]
