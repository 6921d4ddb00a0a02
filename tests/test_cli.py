"""The command: verbs, exit codes, and words where they should be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner import cli, verbs
from runner.cli import main


def test_overrides_may_stand_between_options():
    words = ["run", "x.yaml", "a.b=1", "--quiet", "c=2", "--output-dir", "there", "d=3"]
    arguments = cli.parse(words)
    assert arguments.overrides == ["a.b=1", "c=2", "d=3"]
    assert (arguments.quiet, arguments.output_dir) == (True, "there")


@pytest.mark.parametrize("words", [[], ["bake"], ["run"], ["run", "x", "--fast"], ["ls", "more"], ["show", "x", "-z"]])
def test_a_wrong_command_line_is_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_shows_real_commands_and_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "recipe run quickstart" in out
    assert "143 SIGTERM" in out


def test_cp_makes_a_recipe_that_editors_can_check_and_never_overwrites(here, capsys):
    assert main(["cp", "quickstart"]) == 0
    text = Path("quickstart.yaml").read_text()
    schema = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert json.loads(Path(schema).read_text())["title"] == "recipe"
    assert main(["validate", "quickstart.yaml"]) == 0
    assert main(["cp", "quickstart"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("quickstart.yaml").read_text() == text
    assert main(["cp", "quickstrat"]) == 2


def test_validate_checks_each_and_tells_the_worst(here, capsys):
    Path("bad.yaml").write_text("version: 1\nname: bad\ntraning: {}\n")
    assert main(["validate", "quickstart", "bad.yaml"]) == 1
    out = capsys.readouterr().out
    assert "quickstart: ok" in out
    assert "bad.yaml:3:1: unknown key 'traning'" in out
    assert main(["validate", "bad.yaml", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["line"] == 3


def test_validate_goes_on_after_a_file_that_is_not_there(here, capsys):
    Path("bad.yaml").write_text("version: 1\nname: bad\ntraning: {}\n")
    assert main(["validate", "gone.yaml", "bad.yaml"]) == 2
    done = capsys.readouterr()
    assert "there is no recipe" in done.err
    assert "unknown key 'traning'" in done.out


def test_a_folder_of_a_shipped_name_does_not_hide_it(here, capsys):
    Path("quickstart").mkdir()
    assert main(["validate", "quickstart"]) == 0


def test_a_shipped_recipe_means_the_paths_of_the_working_directory(here, capsys):
    assert main(["run", "folder_ddpm", "--dry-run"]) == 3
    assert f"{here}/pictures" in capsys.readouterr().err


def test_errors_of_a_run_in_json_are_events_on_stdout(here, capsys):
    assert main(["run", "quickstart", "compute.device=cuda", "--format", "json"]) == 5
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", 5)


def test_an_optimizer_without_its_package_is_named_before_anything_is_read(here, capsys):
    assert main(["run", "quickstart", "training.optimizer.type=prodigy", "training.learning_rate=1"]) == 5
    assert "pip install 'recipe[prodigy]'" in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_a_missing_recipe_is_2_with_a_guess(here, capsys):
    assert main(["run", "quickstrat"]) == 2
    assert "quickstart" in capsys.readouterr().err


def test_folders_and_pictures_without_a_recipe_are_named(here, capsys):
    Image.new("RGB", (4, 4)).save("plain.png")
    assert main(["show", "plain.png"]) == 2
    assert "without a recipe" in capsys.readouterr().err
    assert main(["show", "."]) == 2
    assert "settled.yaml" in capsys.readouterr().err


def test_diff_names_the_keys(here, capsys):
    Path("a.yaml").write_text("version: 1\nname: a\nsampling: {}\nmodel: {type: pretrained, id: ./m}\n")
    Path("b.yaml").write_text("version: 1\nname: a\nsampling: {num_images: 3}\nmodel: {type: pretrained, id: ./m}\n")
    assert main(["diff", "a.yaml", "b.yaml"]) == 0
    assert "sampling.num_images" in capsys.readouterr().out
    assert main(["diff", "a.yaml", "a.yaml"]) == 0
    assert capsys.readouterr().out == "identical\n"


def test_data_shows_and_exports(here, capsys):
    options = ["data.num_images=6", "data.resolution=16"]
    assert main(["data", "quickstart", *options]) == 0
    out = capsys.readouterr().out
    assert "6 found, 6 used, 0 skipped" in out
    (sheet,) = Path("outputs/quickstart").glob("contact-sheet-*.png")
    assert Image.open(sheet).width > 100
    assert main(["data", "quickstart", *options, "--export", "out"]) == 0
    rows = [json.loads(line) for line in Path("out/metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert all(Image.open(Path("out") / row["file_name"]).size == (16, 16) for row in rows)
    assert main(["data", "quickstart", *options, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["used"] == 6


def test_a_bug_of_ours_is_70_and_debug_shows_where(monkeypatch, capsys):
    def broken(arguments):
        raise KeyError("oops")

    monkeypatch.setattr(verbs, "ls", broken)
    assert main(["ls"]) == 70
    err = capsys.readouterr().err
    assert "this is a bug in recipe (KeyError: 'oops')" in err
    assert "Traceback" not in err
    assert main(["ls", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_141():
    command = f"{sys.executable} -m runner schema | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout == "141\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_takes_nothing_is_5_and_a_closed_one_is_not_missed():
    for where, code, said in (
        ("/dev/full", 5, "recipe: the output cannot be written (No space left on device): send it elsewhere\n"),
        ("&-", 0, ""),
    ):
        command = f"{sys.executable} -m runner ls > {where}" if where != "&-" else f"{sys.executable} -m runner ls >&-"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert (done.returncode, done.stderr) == (code, said)


def test_the_command_imports_nothing_heavy_for_help():
    code = "import sys; from runner.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'diffusers', 'numpy', 'rich', 'PIL'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.splitlines()[-1] == "[]"
