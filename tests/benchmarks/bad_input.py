"""Time and memory of checking recipes that are as large as they may be, or made to hurt.

    python -m tests.benchmarks.bad_input [NAME …]

Each is checked by `recipe validate` in a process of its own, on Linux: seconds on the clock and of a CPU, and memory at
most. The first row is a small recipe: what a process costs.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from runner.language.load import MOST_BYTES

HEAD = "version: 1\nname: x\nmodel: {type: pretrained, id: a/b}\n"
DRAW = "sampling: {prompts: [x]}\n"


def full(piece: str, head: str = HEAD + DRAW, tail: str = "") -> str:
    """A text of as many pieces as a recipe may have; '{i}' in a piece is its number."""
    pieces, size, i = [], len(head) + len(tail), 0
    while size + len(text := piece.replace("{i}", str(i))) <= MOST_BYTES:
        pieces.append(text)
        size, i = size + len(text), i + 1
    return head + "".join(pieces) + tail


def levels(count: int) -> str:
    """A mapping of so many levels in block style."""
    return "".join(f"{' ' * i}a:\n" for i in range(count))


RECIPES: dict[str, Callable[[], str]] = {
    "small": lambda: HEAD + DRAW,
    # as large as a recipe may be
    "one list of prompts": lambda: full("x,", f"{HEAD}sampling: {{prompts: [", "]}\n"),
    "prompts of 12 letters": lambda: full("    - a red rose\n", f"{HEAD}sampling:\n  prompts:\n"),
    "prompts of 20,000 letters": lambda: full(f"    - {'x' * 19_990}\n", f"{HEAD}sampling:\n  prompts:\n"),
    "one prompt": lambda: full("x", f"{HEAD}sampling: {{prompts: [", "]}\n"),
    "unknown keys": lambda: full("unknown{i}: 1\n"),
    "unknown keys of 30 letters": lambda: full("unknown_key_of_thirty_let{i}: 1\n"),
    "unknown keys in a section": lambda: full("  unknown_key_{i}: 1\n", f"{HEAD}sampling:\n  prompts: [x]\n"),
    "9,999 numbers for prompts": lambda: f"{HEAD}sampling:\n  prompts:\n" + "    - 123456789012345\n" * 9_999,
    "64 mappings of unknown keys": lambda: (
        f"{HEAD}sampling:\n  prompts: [x]\n  matrix:\n    scheduler:\n"
        + "".join(f"      - {{type: DDIM, unknown{i}: 1}}\n" for i in range(200))
    ),
    "unknown sections": lambda: full("s{i}: {a: 1, b: [1, 2], c: {d: e}}\n"),
    "values of another type": lambda: full("    - [1, {a: b}]\n", f"{HEAD}sampling:\n  prompts:\n"),
    "keys given twice": lambda: full("seed: 1\n"),
    "lists of 63 levels": lambda: full(f"k{{i}}: {'[' * 62}{']' * 62}\n"),
    "sections of 63 levels": lambda: HEAD + DRAW + levels(63) * 60,
    "comments": lambda: full("# x\n"),
    "comments after values": lambda: full("k{i}: 1 # x\n"),
    "empty lines": lambda: full("\n"),
    "one line of spaces": lambda: full(" "),
    "control characters": lambda: full("a\x01: \x02\n"),
    "control characters in one line": lambda: full("\x01", "a: "),
    "wide characters": lambda: full("花🌸", f"{HEAD}description: ")[: MOST_BYTES // 4],
    "anchors": lambda: full("k{i}: &a{i} 1\n"),
    "tags": lambda: full("k{i}: !t{i} 1\n"),
    "tags in a list": lambda: full("- !x y\n", f"{HEAD}{DRAW}freeze:\n"),
    "escapes": lambda: full("\\u0041", f'{HEAD}description: "', '"\n'),
    "variables": lambda: full("k{i}: ${x}\n"),
    "openers of variables": lambda: full("${", f"{HEAD}description: "),
    "openers of variables in a list": lambda: full("    - '{{ {{ ${ ${'\n", f"{HEAD}{DRAW}freeze:\n"),
    "LoRAs": lambda: full("    - {id: a/b{i}, weight: x}\n", f"version: 1\nname: x\n{DRAW}model:\n  loras:\n"),
    "matrix": lambda: full("{i}, ", f"{HEAD}sampling: {{prompts: [x], matrix: {{seed: [", "]}}\n"),
    "weights of a prompt": lambda: full("(", f"{HEAD}sampling: {{prompt_syntax: weighted, prompts: ['", "']}\n"),
    "everything wrong at once": lambda: full("k{i}: &a {a: !x 1, a: 2, <<: *b, 1: .nan, [c]: 'x'}\n"),
    # bombs
    "laughs": lambda: "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 40)),
    "aliases": lambda: full("*a, ", "a: &a [x]\nb: [", "]\n"),
    "merge keys": lambda: full("k{i}: {<<: *a}\n", "a: &a {x: 1}\n"),
    "100,000 [": lambda: "a: " + "[" * 100_000,
    "100,000 {": lambda: "a: " + "{" * 100_000,
    "100,000 {a:": lambda: "{a: " * 65_000,
    "100,000 -": lambda: "- " * 100_000,
    "100,000 ?": lambda: "? " * 100_000,
    "700 levels of blocks": lambda: levels(700),
    "quotes that are not closed": lambda: full("\"'", "a: "),
    "50 MB": lambda: "# x\n" * (50 * 2**18),
    "10^6 keys": lambda: "".join(f"k{i}: 1\n" for i in range(10**6)),
    "a text of 10 MB": lambda: f"{HEAD}description: {'x' * 10**7}\n",
}

CHILD = """
import sys, time
from runner.cli import main
code = main(["validate", sys.argv[1]])
most = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, time.process_time(), most, file=sys.stderr)
"""


def measure(text: str) -> tuple[int, float, float, float, str]:
    """Exit code, seconds on the clock and of a CPU, MiB at most, and the first problem."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        start = time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", CHILD, file.name], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
    code, cpu, most = ended.stderr.split()[-3:]
    said = next((line for line in ended.stdout.splitlines() if line.startswith(file.name)), "")
    return int(code), seconds, float(cpu), int(most) / 1024, said.removeprefix(file.name).lstrip(":")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    names = parser.parse_args().names
    print(f"{'recipe':32} {'KiB':>6} {'exit':>4} {'clock':>8} {'CPU':>7} {'memory':>8}  first problem")
    for name in names or RECIPES:
        text = RECIPES[name]()
        code, seconds, cpu, most, said = measure(text)
        size = len(text.encode()) / 1024
        print(f"{name:32} {size:6.0f} {code:4} {seconds:6.2f} s {cpu:5.2f} s {most:4.0f} MiB  {said[:60]}", flush=True)


if __name__ == "__main__":
    main()
