"""Prints the corpus's table when its tests have run."""

from tests.corpus.table import ELSEWHERE

RESULTS = {}


def pytest_terminal_summary(terminalreporter):
    if not RESULTS:
        return
    terminalreporter.section("corpus")
    for (row, what), (verdict, outcome) in sorted(RESULTS.items()):
        ended = "" if outcome is None else f"exit {outcome.code:>3}  {outcome.sentence[:100]}"
        terminalreporter.write_line(f"{row:6} {verdict:6} {what[:48]:48} {ended}")
    for row, why in sorted(ELSEWHERE.items()):
        terminalreporter.write_line(f"{row:6} {'-':6} {why}")
