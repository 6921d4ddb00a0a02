"""What a process knows of those beside it."""

import os
import subprocess
import sys

import pytest
import yaml

from runner.cli import main
from runner.errors import EnvironmentFault
from runner.processes import alone, command, launch, started
from runner.processes.crew import join
from tests.conftest import ROOT
from tests.corpus.table import toy
from tests.several.crew import crew, ends

RANKS = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RESTART_COUNT": "2"}


@pytest.fixture
def launched(monkeypatch):
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)


def test_a_launcher_tells_of_the_others(launched):
    beside = started()
    assert (beside.rank, beside.count, beside.local, beside.restarts) == (5, 8, 4, 2)
    alone()
    assert started() is None and "WORLD_SIZE" not in os.environ


def test_who_is_started_alone_is_alone(launched, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert started() is None


@pytest.mark.parametrize("path", [["/usr/bin"], ["", "x"]])
def test_others_are_started_without_the_working_folder_where_this_one_was(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", path)
    flags = ["-P"] if path[0] else []
    assert command(["run", "x.yaml"]) == [sys.executable, *flags, "-m", "runner", "run", "x.yaml"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ACCELERATE_USE_FSDP", "true", "fsdp"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "torch.compile"),
    ],
)
def test_what_accelerates_launcher_would_do_otherwise_is_refused(launched, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFault, match=f"was told to use {told}, and compute.strategy is ddp"):
        join(started(), {"device": "cpu", "strategy": "ddp"})


def test_a_rank_past_the_last_is_one_sentence(launched, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "8")
    assert main(["run", "quickstart", "--dry-run"]) == 5
    assert "RANK is 8 of a WORLD_SIZE of 8: ranks count from 0, so start by torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "said"), [("0", 1), ("1", 0)])
def test_a_fault_of_a_machine_is_said_by_one_of_its_processes(here, monkeypatch, place, said):
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy()))

    def lacking(_rank):
        os.environ["LOCAL_RANK"] = place
        sys.modules["runner.processes.started"]._TURN = 0.1
        monkeypatch.setattr("runner.doctor.floors", broken)

    def broken():
        raise EnvironmentFault("torch 2.1 is too old")

    codes, told = ends(here, 2, "run", "recipe.yaml", before=lacking)
    assert codes == [5, 5] and told[1].count("torch 2.1 is too old") == said, told


def test_mps_is_one_device(launched):
    with pytest.raises(EnvironmentFault, match="mps does not work in 8 processes: write cpu"):
        join(started(), {"device": "mps", "strategy": "ddp"})


@pytest.mark.parametrize("words", [["--dry-run"], ["--smoke"]], ids=" ".join)
def test_a_plan_and_a_rehearsal_are_the_work_of_one(here, words):
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy(compute={"processes": 2})))
    codes, said = ends(here, 2, "run", "recipe.yaml", *words)
    assert codes == [0, 0] and said[0] != "" and said[1] == "", said


def test_what_only_draws_is_drawn_by_one(here):
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy(training={"max_train_steps": 1})))
    assert ends(here, 1, "run", "recipe.yaml")[0] == [0]
    (sample,) = here.glob("outputs/toy/001/sample.yaml")
    codes, said = ends(here, 2, "run", sample)
    assert codes == [0, 0] and "Sampling" in said[0] and said[1] == "", said


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_word_that_is_wrong_is_said_once(here, form):
    (here / "recipe.yaml").write_text("version: 1\nname: x\nnonsense: 1\n")
    codes, said = ends(here, 2, "run", "recipe.yaml", "--format", form)
    assert codes == [1, 1] and "nonsense" in said[0] and said[1] == "", said


def test_a_warning_is_said_by_the_first_of_those_that_work(here, monkeypatch, capsys):
    idle = {"vae_tiling": True, "mixed_precision": "fp32"}
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy(compute={**idle, "processes": 2})))
    monkeypatch.setattr(launch, "multi_gpu_launcher", lambda _: None)
    assert main(["run", "recipe.yaml"]) == 0
    assert "vae_tiling has no effect" not in capsys.readouterr().err
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy(training={"max_train_steps": 1}, compute=idle)))
    codes, said = ends(here, 2, "run", "recipe.yaml")
    assert codes == [0, 0] and said[0].count("vae_tiling has no effect") == 1 and said[1] == "", said


def test_the_command_reads_the_words_of_a_launcher_without_torch():
    code = "import sys; import runner.processes; sys.exit(any(name in sys.modules for name in ('torch', 'accelerate')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_rank_that_is_no_number_is_one_sentence(here, monkeypatch, capsys):
    for name, value in {**RANKS, "RANK": "first"}.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "quickstart", "--dry-run"]) == 5
    said = capsys.readouterr().err
    assert "the environment's RANK is not a number (first): start by torchrun or accelerate launch" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("asked", "threads"), [("", 4), ("3", 3), ("64", 4), ("0", 4), ("4,2", 4), ("many", 4)])
def test_no_process_has_more_threads_than_its_share_of_the_cores(monkeypatch, asked, threads):
    """With twice as many as cores, two processes took thirty times as long."""
    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda _: range(8), raising=False)
    given = []
    monkeypatch.setattr(launch, "multi_gpu_launcher", lambda arguments: given.append(arguments))
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    launch.launch(["run", "recipe.yaml"], 2)
    assert given[0].num_cpu_threads_per_process == threads


def test_a_process_that_fails_before_it_has_met_the_others_is_not_silent(here):
    """While the first one waits for it: no launcher ends them here."""
    (here / "recipe.yaml").write_text(yaml.safe_dump(toy(compute={"mixed_precision": "fp32"})))

    def broken(rank):
        sys.modules["runner.processes.started"]._TURN = 0.1
        if rank == 1:
            sys.modules["runner.settle.settled"] = None

    with crew(here, 2, "run", "recipe.yaml", before=broken) as processes:
        assert processes[1].wait() == 70
        assert "recipe: this is a bug in recipe (ModuleNotFoundError: " in processes[1].said
