"""Every row of the corpus that can be run here, run; the table of results is printed at the end."""

import csv
import importlib
import pkgutil

import pytest

import tests.corpus
from tests.corpus import conftest, table

for module in pkgutil.iter_modules(tests.corpus.__path__, "tests.corpus."):
    if module.name.rpartition(".")[2].startswith("rows_"):
        importlib.import_module(module.name)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.row}-{case.what}", marks=[pytest.mark.slow] if case.slow else [])
        for case in table.CASES
    ],
)
def test_a_row(case, here):
    place = case.row, case.what
    conftest.RESULTS[place] = "failed", None
    outcome = case.run(here)
    conftest.RESULTS[place] = "failed", outcome
    case.check(outcome)
    conftest.RESULTS[place] = "ok", outcome


def test_no_row_is_forgotten():
    if not table.CSV.is_file():
        pytest.skip("the list of rows is not beside the project")
    rows = {line["id"] for line in csv.DictReader(table.CSV.open(encoding="utf-8"))}
    assert rows - {case.row for case in table.CASES} - table.ELSEWHERE.keys() == set()
