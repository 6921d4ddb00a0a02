"""Rows SYN: what is no YAML, or no YAML of ours."""

import json
from itertools import product

from tests.corpus.table import case, not_here, told, toy, validate

HEAD = "version: 1\nname: x\nmodel: {type: pretrained, id: a/b}\nsampling: {prompts: [x]}\n"


for what, text in {
    "empty file": "",
    "only a byte order mark": "\ufeff",
    "only white space": " \n\n  \n",
    "only comments": "# nothing\n",
    "only ---": "---\n",
    "only --- and ...": "---\n...\n",
    "only null": "null\n",
}.items():
    told("SYN01", what, text, "(the recipe is empty: it needs|missing key|expected 'key: value')")

told("SYN02", "tab for a section", f"{HEAD}data:\n\ttype: folder\n", r"yaml:6:1: tab used for indentation: use spaces")
told("SYN02", "tab after spaces", f"{HEAD}data:\n  \ttype: folder\n", r"yaml:6:3: tab used for indentation: use spaces")
told("SYN02", "tab before a list", f"{HEAD}freeze:\n\t- vae\n", r"yaml:6:1: tab used for indentation: use spaces")

told("SYN04", "at the root", f"{HEAD}seed: 1\nseed: 2\n", r"yaml:6:1: 'seed' is given twice \(first at line 5\)")
told("SYN04", "a whole section", f"{HEAD}model: {{}}\n", r"yaml:5:1: 'model' is given twice \(first at line 3\)")
told("SYN04", "nested", f"{HEAD}data:\n  type: builtin\n  type: hub\n", r"yaml:7:3: 'type' is given twice")
told(
    "SYN04", "in flow style", f"{HEAD}data: {{type: builtin, type: hub}}\n", r"'type' is given twice \(first at column"
)
told("SYN04", "once in quotes", f'{HEAD}seed: 1\n"seed": 2\n', r"'seed' is given twice")

for key in ("1", "true", "null", "2.5", "~", "? \n"):
    told("SYN05", f"key {key.strip()}", f"{HEAD}{key}: x\n", "keys must be text")
told(
    "SYN05",
    "keys that differ only by type",
    f"{HEAD}data:\n  1: a\n  '1': b\n",
    'keys must be text: write "1" in quotes',
)

told("SYN07", "a list", "- version: 1\n- name: x\n", "expected 'key: value', got a list: write the keys without '-'")
told("SYN07", "x:1 without a space", "version:1\n", r"expected 'key: value', got one value: did you miss a space after")
told("SYN07", "one word", "hello\n", "expected 'key: value', got one value")
told("SYN07", "one number", "42\n", "expected 'key: value', got one value")

told("SYN08", "a list as key", "{[1]: 2}\n", r"'\[' starts a list, which cannot be a key")
told("SYN08", "a list as key in flow style", f"{HEAD}data: {{[1]: 2}}\n", r"'\[' starts a list, which cannot be a key")
told("SYN08", "a mapping as key", f"{HEAD}data: {{{{a: 1}}: 2}}\n", r"(starts a mapping|is no variable)")
told("SYN08", "{size} meant as a variable", f"{HEAD}seed: {{{{size}}}}\n", "is no variable, recipes hold none")
told("SYN08", "a key after ?", f"{HEAD}? [a, b]\n: 1\n", r"'\[' starts a list, which cannot be a key")

RAW = {"escape": "\x1b", "NUL": "\0", "bell": "\a", "C1 CSI": "\x9b", "delete": "\x7f", "bidi override": "\u202e"}
for (what, character), place in product(RAW.items(), ("value", "key", "comment")):
    text = {"value": "name: a{}b\n", "key": "na{}me: x\n", "comment": "# {}\nname: x\n"}[place].format(character)
    if what != "bidi override" or place == "key":
        told("SYN10", f"{what} in a {place}", "version: 1\n" + text, "")
for escape, code in {r"\e": "001B", r"\x07": "0007", r"\0": "0000", r"\x9b": "009B"}.items():
    told(
        "SYN10", f"{escape} as an escape", f'version: 1\nname: "a{escape}b"\n', rf"control character U\+{code} in name"
    )
told("SYN10", "half a character as an escape", 'version: 1\nname: "a\\uD800b"\n', "(U.D800|escape)")

CORE = {
    "!!int abc",
    "!!bool maybe",
    "!!timestamp foo",
    "!!timestamp 2024-13-45",
    "!!float x",
    "!!binary '%'",
    "!!null x",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!str 1",
    "! x",
}
for value in sorted(CORE):
    told("SYN11", value, f"{HEAD}description: {value}\n", r"tags \('!.*'\) are not allowed")
told(
    "SYN11", r"\UFFFFFFFF", f'{HEAD}description: "\\UFFFFFFFF"\n', r"yaml:5:\d+: this escape is no character: remove it"
)
told("SYN11", r"\U00110000", f'{HEAD}description: "\\U00110000"\n', r"this escape is no character")
told("SYN11", r"\x1 cut short", f'{HEAD}description: "\\x1"\n', r"this escape is cut short")
told("SYN11", "2024-13-45 in a key for text", f"{HEAD}description: 2024-13-45\ndata: 1\n", r"^recipe.yaml:6:")

told("SYN13", "undefined alias", f"{HEAD}description: *a\n", r"yaml:5:14: aliases \('\*a'\) are not allowed")
told("SYN13", "alias of itself", f"{HEAD}freeze: &a [*a]\n", r"aliases \('\*a'\) are not allowed: write the value out")
told("SYN13", "plain reuse", f"{HEAD}seed: &s 1\ndata: {{max_images: *s}}\n", r"aliases \('\*s'\) are not allowed")


@case("SYN14", "a recipe in flow style, with comments, quotes and odd line ends", exits=0, says="recipe.yaml: ok")
def _(folder):
    text = json.dumps(toy(description="a: #1, 花 🌸 'q'"), indent=1, ensure_ascii=False)
    return validate("---\r\n" + text.replace("\n", " # c\r\n") + "\r\n...\r\n")


not_here("SYN14", "the suite's own inputs lie outside the project: tests/language/test_yaml_suite.py runs them")
