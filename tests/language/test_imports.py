"""Checking a recipe stays light: no torch, no diffusers, no numpy, no rich."""

import subprocess
import sys

import pytest

CHECK = """
import sys
{statement}
heavy = {{"torch", "diffusers", "numpy", "rich", "transformers", "datasets", "accelerate", "PIL"}}
print(",".join(sorted(heavy & set(sys.modules))))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "from runner.language.recipe import read; from runner.shipped_files import find; read(find('quickstart'))",
        "from runner.language.schema_docs import explain; explain('training')",
        "from runner.language import diff, write, overrides",
        "from runner.language.load import load, parse; parse('a: [', 'r.yaml')",
    ],
)
def test_the_language_imports_nothing_heavy(statement: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(statement=statement)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
