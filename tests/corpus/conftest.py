"""Prints the corpus's table when its tests have run, in whichever processes they did."""

from tests.corpus.table import ELSEWHERE, RESULT, load


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    results = [(dict(report.user_properties)[RESULT], report.passed) for report in reports if _tells(report)]
    if not results:
        return
    load()
    terminalreporter.section("corpus")
    for (row, what, ended), passed in sorted(results):
        terminalreporter.write_line(f"{row:6} {'ok' if passed else 'failed':6} {what[:48]:48} {ended}")
    for row, why in sorted(ELSEWHERE.items()):
        terminalreporter.write_line(f"{row:6} {'-':6} {why}")


def _tells(report):
    return report.when == "call" and RESULT in dict(report.user_properties)
