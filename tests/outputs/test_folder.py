"""A run's folder: made without races, whole files only, nothing outside it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner.errors import EnvironmentFault, Refused, UsageError
from runner.outputs import png
from runner.outputs.folder import RunFolder, find, newest


def test_runs_are_numbered_and_latest_follows(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path, "rose") for _ in range(3)]
    assert [run.path.name for run in runs] == ["001", "002", "003"]
    latest = tmp_path / "rose" / "latest"
    assert latest.readlink() == Path("003")  # relative: the outputs may be moved
    assert RunFolder.open(latest).path == runs[2].path


def test_numbers_grow_past_three_digits_and_sort_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "rose" / "999").mkdir(parents=True)
    assert RunFolder.create(tmp_path, "rose").path.name == "1000"
    assert [run.path.name for run in find(tmp_path, "rose")] == ["1000", "999"]


def test_find_ignores_what_is_no_run(tmp_path: Path) -> None:
    home = tmp_path / "rose"
    (home / "notes").mkdir(parents=True)
    (home / "002").write_text("a file")
    (home / "003").symlink_to(tmp_path)
    (home / "001").mkdir()
    assert [run.path.name for run in find(tmp_path, "rose")] == ["001"]
    assert newest(tmp_path, "tulip") is None


def test_processes_that_race_get_folders_of_their_own(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from runner.outputs.folder import RunFolder\n" + (
        "sys.stdin.readline()\nfor _ in range(40): print(RunFolder.create(Path(sys.argv[1]), 'rose').path.name)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    made = [name for racer in racers for name in racer.communicate()[0].split()]
    assert sorted(made) == [f"{number:03}" for number in range(1, 81)]
    assert (tmp_path / "rose" / "latest").readlink() == Path("080")
    assert not list((tmp_path / "rose").glob(".tmp-*"))


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc", "a/b", "C:\\x", "\\\\host\\x", "~", "a\0b", "con", "nul.x", "lpt1", "a.", "", "Rose"]
)
def test_names_that_leave_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="cannot name a folder"):
        RunFolder.create(tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_a_link_in_place_of_the_runs_home_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rose").symlink_to(elsewhere)
    with pytest.raises(Refused, match=r"is a link to .*elsewhere"):
        RunFolder.create(tmp_path / "out", "rose")
    with pytest.raises(Refused):
        find(tmp_path / "out", "rose")
    assert not list(elsewhere.iterdir())


def test_links_inside_a_run_lead_nowhere(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "out", "rose")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / "samples").symlink_to(elsewhere)
    (run.path / "log.jsonl").symlink_to(elsewhere / "log")
    for act in (
        lambda: run.write_text("samples/a.txt", "x"),
        lambda: run.write_text("../a.txt", "x"),
        lambda: run.write_text("/tmp/a.txt", "x"),
        lambda: run.append_log({"step": 1}),
    ):
        with pytest.raises(Refused, match="leads out of the run's folder"):
            act()
    assert not list(elsewhere.iterdir())


def test_open_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give outputs/NAME/001"):
        RunFolder.open(tmp_path / "rose" / "latest")
    RunFolder.create(tmp_path, "rose")
    latest = tmp_path / "rose" / "latest"
    latest.unlink()
    latest.symlink_to("/etc")  # a planted link is read for its last name only
    with pytest.raises(UsageError):
        RunFolder.open(latest)


def test_latest_is_a_text_file_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: object, target_is_directory: bool = False) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    run = RunFolder.create(tmp_path, "rose")
    assert (tmp_path / "rose" / "latest.txt").read_text() == "001\n"
    assert RunFolder.open(tmp_path / "rose" / "latest").path == run.path


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*rose: a part of the path is a file.*--output-dir"):
        RunFolder.create(tmp_path / "out", "rose")
    (tmp_path / "rose").write_text("a file")
    with pytest.raises(EnvironmentFault, match="something with that name is in the way"):
        RunFolder.create(tmp_path, "rose")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentFault, match="permission is denied"):
        RunFolder.create(tmp_path, "rose")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, r"cannot write .*settled.yaml: the disk is full \(.* GiB free\); free some space"),
        (errno.EROFS, "the file system is read-only; mend that, or choose another folder"),
        (errno.EDQUOT, "the disk quota is used up; free some space"),
        (errno.EIO, "the disk reports an error"),
    ],
)
def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    run = RunFolder.create(tmp_path, "rose")
    run.write_text("settled.yaml", "before")

    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EnvironmentFault, match=sentence):
        run.write_text("settled.yaml", "after")
    assert (run.path / "settled.yaml").read_text() == "before"
    assert [file.name for file in run.path.iterdir()] == ["settled.yaml"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting takes root on Linux")
def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        run = RunFolder.create(disk, "rose")
        run.append_log({"step": 1})
        with pytest.raises(EnvironmentFault, match="the disk is full"):
            run.write_bytes("model.bin", bytes(1 << 20))
        (run.path / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        with pytest.raises(EnvironmentFault, match="the disk is full"):
            run.append_log({"text": "x" * 10_000})
        assert run.read_log() == [{"step": 1}]
        assert sorted(file.name for file in run.path.iterdir()) == ["ballast", "log.jsonl"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_log_goes_back_to_a_step_and_drops_a_torn_line(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    run.trim_log(5)  # nothing logged yet
    assert not (run.path / "log.jsonl").exists()
    for step in range(1, 11):
        run.append_log({"step": step, "loss": float("nan") if step == 2 else 1 / step})
    run.append_log({"note": "größer"})
    with (run.path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # killed here
    run.trim_log(3)
    assert [entry.get("step") for entry in run.read_log()] == [1, 2, 3, None]
    assert run.read_log()[1]["loss"] == "nan"
    run.append_log({"step": 4})
    lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("step") for line in lines] == [1, 2, 3, None, 4]


def begin(run: RunFolder, given: str = "name: rose\n", seed: int = 0) -> None:
    asked = {"name": "rose", "seed": "auto"}
    run.begin(given=given, text=f"name: rose\nseed: {seed}\n", asked=asked, settled={**asked, "seed": seed})


def test_the_record_of_a_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    assert (run.state, run.can_go_on) == ("new", False)
    with run.lock():
        begin(run)
        with run.record.timed("train"):
            pass
        assert (run.state, run.can_go_on) == ("running", False)
        run.end(143, "stopped")
    assert (run.state, run.can_go_on) == ("interrupted", True)
    with run.lock():
        begin(run, given="changed", seed=1)
        run.end(0, "done")
    assert (run.state, run.can_go_on) == ("done", False)
    assert (run.path / "recipe.yaml").read_text() == "name: rose\n"  # the first session's stays
    assert (run.path / "settled.yaml").read_text() == "name: rose\nseed: 1\n"  # what is used now
    record = run.record.read()
    assert (record["asked"]["seed"], record["settled"]["seed"]) == ("auto", 1)
    first, second = record["sessions"]
    assert first["timings"].keys() == {"train"}
    assert (first["exit_code"], second["exit_code"]) == (143, 0)
    assert "changes" not in first
    assert second["changes"] == {"seed": [0, 1]}
    assert {"torch", "diffusers"} <= second["versions"].keys()


def test_drafts_of_a_killed_process_go_when_the_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    for draft in ("checkpoints/.tmp-step-000002/state.json", "samples/.tmp-1f", ".tmp-model/unet/.tmp-2", "model/kept"):
        (run.path / draft).parent.mkdir(parents=True, exist_ok=True)
        (run.path / draft).write_text("half")
    begin(run)
    left = {str(path.relative_to(run.path)) for path in run.path.rglob("*")}
    assert left == {"checkpoints", "samples", "model", "model/kept", "recipe.yaml", "settled.yaml", "run.json"}


def test_what_was_made_at_the_end_is_set_aside_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    begin(run)
    for name in ("model/unet/w", "sample.yaml", "samples/grid.png", "samples/step-000002.png", "log.jsonl"):
        run.write_text(name, name)
    assert run.set_aside() == ("before-2", ["model", "sample.yaml", "samples/grid.png"])
    assert (run.path / "before-2" / "model" / "unet" / "w").read_text() == "model/unet/w"
    run.write_text("samples/00000.png", "after a stop in the midst")
    assert run.set_aside() == ("before-2", ["samples/00000.png"])
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == ["step-000002.png"]


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path, anew: bool) -> None:
    run = RunFolder.create(tmp_path, "rose")
    with run.lock():
        run.append_log({"step": 1})
        shutil.rmtree(run.path)
        if anew:
            begin(RunFolder.create(tmp_path, "rose"))  # of the same name
        before = sorted(tmp_path.rglob("*"))
        for write in (lambda: run.append_log({"step": 2}), lambda: run.write_text("samples/a.txt", "a")):
            with pytest.raises(EnvironmentFault, match=r"the run.s folder .*rose/001 is gone"):
                write()
        assert sorted(tmp_path.rglob("*")) == before


def test_paths_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    run.record.begin({"id": "/pictures/\udcff"}, {})
    assert run.record.read()["asked"] == {"id": "/pictures/\udcff"}


@pytest.mark.parametrize(
    ("code", "state", "goes_on"),
    [(8, "failed", False), (4, "failed", False), (3, "failed", True), (5, "failed", True), (130, "interrupted", True)],
)
def test_how_a_run_ended_decides_whether_it_goes_on(tmp_path: Path, code: int, state: str, goes_on: bool) -> None:
    run = RunFolder.create(tmp_path, "rose")
    begin(run)
    run.end(code, "why")
    assert (run.state, run.can_go_on) == (state, goes_on)


def test_a_run_that_died_without_a_word_is_interrupted(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    begin(run)  # nobody holds the lock
    assert (run.record.state, run.state, run.can_go_on) == ("running", "interrupted", True)


def test_a_damaged_record_is_no_traceback(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    (run.path / "run.json").write_text('{"state": ')
    assert run.state == "new"
    (run.path / "run.json").write_text("[1]")
    assert run.state == "new"


def test_a_picture_carries_its_text(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "rose")
    path = run.save_image("samples/00000.png", Image.new("RGB", (4, 4), "red"), {"recipe": "name: rose\n", "seed": "7"})
    assert path == run.path / "samples" / "00000.png"
    assert png.read(path)["recipe"] == "name: rose\n"
