"""Good recipes changed at random: whatever comes of it, a sentence with a place, never a traceback."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner import shipped_files
from runner.errors import UsageError
from runner.language.document import Document
from runner.language.load import load, parse
from runner.language.problems import COMMAND_LINE, RecipeProblems, render
from runner.language.recipe import read, to_yaml

GOOD = Path(__file__).parents[1] / "recipes" / "good"
FILES = [*(path for _, _, path in shipped_files.recipes()), *sorted(GOOD.glob("*.yaml"))]
TEXTS = ["\n".join(load(path).source.lines) for path in FILES]
DATA = [parse(text, "good.yaml").data for text in TEXTS]
BITS = [
    *[
        " ",
        "  ",
        "\n",
        "\t",
        ":",
        ": ",
        "-",
        "- ",
        "#",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "|",
        ">",
        "&a",
        "*a",
        "!x",
        "%",
        "@",
    ],
    *[
        "? ",
        "<<: ",
        "---\n",
        "...\n",
        "\\",
        "\\x1b",
        "\x00",
        "\x1b",
        "\u00a0",
        "\u2028",
        "\ufeff",
        "花",
        "🌸",
        "é",
        "\ud800",
    ],
    *[
        "null",
        "true",
        "yes",
        "1e999",
        ".nan",
        "-1",
        "0x",
        "1_0",
        "16:9",
        "${x}",
        "{{x}}",
        "!!python/object:os.system",
        "\r",
        "=",
    ],
]
HUGE = 10**400  # more than a float can hold
VALUES: list[Any] = [
    *[
        None,
        True,
        False,
        0,
        -1,
        1,
        HUGE,
        2.5,
        -0.0,
        float("nan"),
        float("inf"),
        "",
        "x",
        "auto",
        "yes",
        "DDIM",
        "../x",
    ],
    *[
        [],
        [1],
        ["a"],
        [[1]],
        [None],
        {},
        {"type": "xyzzy"},
        {"type": None},
        {"a": 1},
        [{}],
        "x" * 2000,
        list(range(100)),
    ],
]


def mutated_text(text: str, dice: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(dice.randint(1, 4)):
        i = dice.randrange(len(lines))
        kind = dice.randrange(8)
        if kind == 0:
            del lines[i]
            lines = lines or [""]
        elif kind == 1:
            lines.insert(i, lines[dice.randrange(len(lines))])
        elif kind == 2:
            lines[i] = dice.choice([" ", "  ", "\t", "      "]) + lines[i]
        elif kind == 3:
            lines[i] = lines[i].lstrip()
        elif kind == 4:
            j = dice.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
        else:
            at = dice.randint(0, len(lines[i]))
            cut = dice.choice([0, 0, 1, 3])
            lines[i] = lines[i][:at] + dice.choice(["", *BITS]) + lines[i][at + cut :]
    return "\n".join(lines)


def mutated_data(data: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    data = copy.deepcopy(data)
    for _ in range(dice.randint(1, 4)):
        here: Any = data
        while True:
            key = dice.choice(list(here) if isinstance(here, dict) else range(len(here)))
            inner = here[key]
            if not isinstance(inner, dict | list) or not inner or dice.randrange(3) == 0:
                break
            here = inner
        kind = dice.randrange(4)
        if kind == 0 and len(here) > 1:
            del here[key]
        elif kind == 1 and isinstance(here, dict):
            here[dice.choice(["lr", "xyzzy", "type", "batch_size", "scheduler", "hooks"])] = here.pop(key)
            data["name"] = data.get("name", 1)
        elif kind == 2:
            other = dice.choice(DATA)
            here[key] = copy.deepcopy(dice.choice(list(other.values())))
        else:
            here[key] = copy.deepcopy(dice.choice(VALUES))
    return data


def judge(read_it: Callable[[], object], document: Document) -> None:
    """Either a recipe whose shown form resolves to itself, or problems that each have a place in what was written."""
    try:
        recipe, problems = read_it()  # type: ignore[misc]
    except RecipeProblems as error:
        recipe, problems = None, error.problems
        assert any(p.severity == "error" for p in problems)
    if recipe is not None:
        assert not any(p.severity == "error" for p in problems)
        shown = to_yaml(recipe.values, header=True)
        again, warnings = read(parse(shown, "shown.yaml"))
        assert again.values == recipe.values
        assert len(warnings) <= len(problems)
    for p in problems:
        assert p.message and p.rule and p.message[0] != "[" and "Traceback" not in p.message
        assert p.line >= 1 and p.length >= 1
        assert 1 <= p.column <= len(p.source) + 1
        if p.file != COMMAND_LINE:
            assert p.source == document.source.lines[p.line - 1]
    for format in ("text", "json", "github"):
        text = render(problems, format)  # type: ignore[arg-type]
        assert not any(c in text for c in "\x1b\x00\u202e\u2028\r")
    assert len({(p.path, p.rule, p.line, p.column) for p in problems}) == len(problems)


def check_text(seed: int) -> None:
    dice = random.Random(seed)
    text = mutated_text(dice.choice(TEXTS), dice)
    document = parse(text, "mutated.yaml")
    judge(lambda: read(document), document)


def check_data(seed: int) -> None:
    dice = random.Random(seed)
    data = mutated_data(dice.choice(DATA), dice)
    document = parse(to_yaml(data, header=False), "mutated.yaml")
    if not document.problems:
        assert repr(document.data) == repr(data).replace(repr(HUGE), "inf")  # nothing is read as another type
    judge(lambda: read(document), document)


def check_overrides(seed: int) -> None:
    dice = random.Random(seed)
    document = parse(dice.choice(TEXTS), "good.yaml")
    paths = [".".join(map(str, path)) for path, _ in document.root.walk() if path] if document.root else []
    arguments = []
    for _ in range(dice.randint(1, 4)):
        value = dice.choice([*BITS, to_yaml({"v": dice.choice(VALUES)}, header=False).partition(":")[2].strip()])
        arguments.append(f"{dice.choice([*paths, 'lr', 'data.type', 'a.0.b', 'sampling.labels.0'])}={value}")
    try:
        judge(lambda: read(document, arguments), document)
    except UsageError as error:
        assert "is no key=value" in str(error)


SEEDS = st.integers(0, 2**32)
FEW = settings(max_examples=35, deadline=None)
MANY = settings(max_examples=3400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", [check_text, check_data, check_overrides])
@FEW
@given(seed=SEEDS)
@example(seed=0)
def test_a_hundred_mutations(kind: Callable[[int], None], seed: int) -> None:
    kind(seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [check_text, check_data, check_overrides])
@MANY
@given(seed=SEEDS)
def test_ten_thousand_mutations(kind: Callable[[int], None], seed: int) -> None:
    kind(seed)


def test_bytes_at_random(tmp_path: Path) -> None:
    dice = random.Random(7)
    path = tmp_path / "r.yaml"
    good = TEXTS[0].encode()
    for _ in range(60):
        data = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(bytes(data))
        document = load(path)
        judge(lambda document=document: read(document), document)
