"""Every row of the corpus that can be run here, run; the table of results is printed at the end."""

import csv

import pytest

from tests.corpus import table

table.load()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.row}-{case.what}", marks=[pytest.mark.slow] if case.slow else [])
        for case in table.CASES
    ],
)
def test_a_row(case, here, record_property):
    ended = ""
    try:
        outcome = case.run(here)
        ended = f"exit {outcome.code:>3}  {outcome.sentence[:100]}"
        case.check(outcome)
    finally:
        record_property(table.RESULT, (case.row, case.what, ended))


def test_no_row_is_forgotten():
    if not table.CSV.is_file():
        pytest.skip("the list of rows is not beside the project")
    rows = {line["id"] for line in csv.DictReader(table.CSV.open(encoding="utf-8"))}
    assert rows - {case.row for case in table.CASES} - table.ELSEWHERE.keys() == set()
