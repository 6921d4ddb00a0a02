"""The lock on a run's folder: one holder, named; gone with its process."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.errors import EnvironmentFault
from runner.outputs.folder import RunFolder

_HOLDER = """
import sys
from pathlib import Path
from runner.outputs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holder(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLDER, str(run.path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "rose")


def test_a_living_holder_is_named_and_left_alone(run: RunFolder) -> None:
    with _holder(run) as process:
        with (
            pytest.raises(EnvironmentFault, match=rf"rose/001 is in use by process {process.pid} on .* since 20"),
            run.lock(),
        ):
            pass
        assert process.poll() is None
        assert json.loads((run.path / "lock").read_text())["pid"] == process.pid


def test_a_killed_holder_is_taken_over_with_a_notice(run: RunFolder) -> None:
    with _holder(run) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with run.lock() as notice:
            assert notice is not None and f"took over the lock of process {process.pid}" in notice
    with run.lock() as notice:
        assert notice is None


def test_a_clean_end_leaves_nothing_to_take_over(run: RunFolder) -> None:
    with _holder(run) as process:
        process.communicate()  # end of its input
        with run.lock() as notice:
            assert notice is None


def test_an_error_inside_lets_go(run: RunFolder) -> None:
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock() as notice:
        assert notice is None


def test_the_same_process_cannot_hold_it_twice(run: RunFolder) -> None:
    with run.lock():
        assert run.state == "new"
        with pytest.raises(EnvironmentFault, match="is in use"), RunFolder(run.path).lock():
            pass


def test_a_lock_from_another_host_is_kept_and_the_mend_named(run: RunFolder) -> None:
    file = run.path / "lock"
    file.write_text(json.dumps({"pid": 123, "host": "elsewhere", "since": "2024-01-01T00:00:00+00:00"}))
    sentence = (
        r"in use by process 123 on elsewhere since 2024-01-01T00:00:00\+00:00: if that run is over, delete .*lock"
    )
    with pytest.raises(EnvironmentFault, match=sentence), run.lock():
        pass
    file.unlink()
    with run.lock() as notice:
        assert notice is None


def test_a_run_on_another_host_still_runs(run: RunFolder) -> None:
    run.begin(given="", text="", asked={}, settled={})
    (run.path / "lock").write_text(json.dumps({"pid": 123, "host": "elsewhere", "since": "now"}))
    assert (run.state, run.can_go_on) == ("running", False)


@pytest.mark.parametrize("text", ["", "not json", "[1]", '{"pid": 1'])
def test_a_lock_file_without_sense_stops_nobody(run: RunFolder, text: str) -> None:
    (run.path / "lock").write_text(text)
    with run.lock() as notice:
        assert notice is None


def test_what_a_lock_file_says_is_shown_escaped(run: RunFolder) -> None:
    (run.path / "lock").write_text(json.dumps({"pid": "\x1b[2J", "host": "[red]", "since": "now"}))
    with pytest.raises(EnvironmentFault, match=r"process \\x1b\[2J on \[red\] since now"), run.lock():
        pass
