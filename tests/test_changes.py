"""Runs that go on: from their folder, with a changed recipe, with changed data, on a changed machine."""

import os
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file

from runner.changes import changes, forbidden, kept, made_anew
from runner.training import checkpoints, origin
from tests.tiny import at_step, lay, logged, recipe, record, runs, stopped_at


@pytest.fixture
def here(here):
    """The working directory holds a recipe and its pictures."""
    lay(here)
    return here


def weights(folder):
    return load_file(folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


@pytest.mark.slow
def test_what_differs_is_said_and_more_steps_go_on(here, capsys):
    stopped_at(4)
    assert recipe("training.max_train_steps=5", "--dry-run") == 0
    capsys.readouterr()
    assert recipe("training.max_train_steps=8", "training.learning_rate=1e-4") == 0
    err = capsys.readouterr().err
    differs = "training.max_train_steps: 6 → 8, training.learning_rate: 0.001 → 0.0001"
    assert f"tiny/001 stopped at step 4 and is of another recipe ({differs}): this is a new run\n" in err
    assert recipe("training.max_train_steps=8") == 0
    assert "another recipe" not in capsys.readouterr().err  # a newer run is done
    assert runs(here) == ["001", "002", "003"]


def test_a_finished_run_gets_more_steps_and_ends_as_if_it_had_had_them_from_the_start(here, capsys):
    assert recipe("training.sample_steps=3") == 0
    run = here / "outputs" / "tiny" / "001"
    old, grid = weights(run), (run / "samples" / "grid.png").read_bytes()
    capsys.readouterr()
    longer = ("training.sample_steps=3", "training.max_train_steps=9")
    assert recipe(*longer, "--allow-changes") == 0
    err = capsys.readouterr().err
    assert "tiny/001 (training.max_train_steps: 6 → 9)" in err
    assert "going on from step 6 of 9" in err
    assert same(weights(run / "before-2"), old)
    assert (run / "before-2" / "samples" / "grid.png").read_bytes() == grid
    assert record(here)["sessions"][1]["changes"] == {"training.max_train_steps": [6, 9]}
    assert "max_train_steps: 9" in (run / "settled.yaml").read_text()
    assert recipe(*longer) == 0
    whole = here / "outputs" / "tiny" / "002"
    assert same(weights(run), weights(whole))
    assert logged(here, "001") == logged(here, "002")
    pictures = sorted(path.name for path in (whole / "samples").iterdir())
    assert sorted(path.name for path in (run / "samples").iterdir()) == pictures
    for name in pictures:
        if not name.startswith("step-00000"):  # the earlier grids carry the recipe of their time
            assert (run / "samples" / name).read_bytes() == (whole / "samples" / name).read_bytes(), name


@pytest.mark.slow
def test_the_old_model_stays_until_the_run_goes_on_and_is_made_anew_after_a_stop(here):
    assert recipe() == 0
    run = here / "outputs" / "tiny" / "001"
    stopped_at(1, "training.max_train_steps=8", "--allow-changes")
    assert not (run / "model").exists()
    assert (run / "before-2" / "model").is_dir()
    assert recipe("training.max_train_steps=8") == 0  # without the flag: this is what it is asked now
    assert runs(here) == ["001"]
    assert not same(weights(run), weights(run / "before-2"))


def test_what_may_not_change_ends_with_7_and_touches_nothing(here, capsys):
    stopped_at(3)
    before = record(here)
    changed = ("training.max_train_steps=8", "training.learning_rate=1e-4", "seed=4")
    for flags in (("--allow-changes",), ("--allow-changes", "--dry-run")):
        assert recipe(*changed, *flags) == 7
        err = capsys.readouterr().err
        assert "with these changed: seed: 3 → 4, training.learning_rate: 0.001 → 0.0001: undo that, or" in err
        assert "--fresh" in err
    assert recipe("training.max_train_steps=2", "--allow-changes") == 7
    assert "at step 3 already, past the 2 that are asked for" in capsys.readouterr().err
    assert record(here) == before
    assert runs(here) == ["001"]


@pytest.mark.slow
def test_other_sampling_draws_again_with_the_same_model(here):
    assert recipe() == 0
    run = here / "outputs" / "tiny" / "001"
    assert recipe("sampling.num_images=3", "--allow-changes") == 0
    assert same(weights(run), weights(run / "before-2"))
    assert (run / "samples" / "00002.png").is_file()
    assert recipe("compute.dataloader_num_workers=1", "sampling.num_images=3", "--allow-changes") == 0
    assert not (run / "before-3").exists()  # nothing that was made follows from that
    assert runs(here) == ["001"]


def test_a_runs_folder_goes_on_while_it_is_unfinished_and_is_repeated_after_that(here, capsys):
    stopped_at(2)
    folder = "outputs/tiny/001"
    stopped_at(2, folder)
    assert [step for step, _ in logged(here)] == [1, 2, 3, 4]
    stopped_at(1)  # the recipe itself knows it still
    capsys.readouterr()
    assert recipe("outputs/tiny/latest") == 0
    assert "going on from step 5 of 6" in capsys.readouterr().err
    assert runs(here) == ["001"]
    assert recipe(folder) == 0
    assert runs(here) == ["001", "002"]
    assert logged(here, "001") == logged(here, "002")
    assert recipe(folder, "training.max_train_steps=7", "--allow-changes") == 0
    assert runs(here) == ["001", "002"]
    assert [step for step, _ in logged(here, "001")] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_the_named_one_of_two_equal_runs_goes_on(here):
    stopped_at(2)
    stopped_at(2, "--fresh")
    assert recipe("outputs/tiny/001") == 0
    assert [len(logged(here, run)) for run in ("001", "002")] == [6, 2]


@pytest.mark.slow
def test_an_edited_settled_recipe_is_another_recipe(here, capsys):
    stopped_at(3)
    path = here / "outputs" / "tiny" / "001" / "settled.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    capsys.readouterr()
    assert recipe("outputs/tiny/001", "--dry-run", "--allow-changes") == 7
    assert "training.learning_rate: 0.001 → 0.002" in capsys.readouterr().err


def test_pictures_that_changed_are_named(here, capsys):
    stopped_at(4)
    mine = here / "mine"
    (mine / "0.png").unlink()
    (mine / "6.png").write_bytes((mine / "5.png").read_bytes())
    Image.new("RGB", (20, 20), "red").save(mine / "3.png")
    capsys.readouterr()
    assert recipe() == 3
    differ = "the data differ from what the run began with: 1 removed (0.png), 1 added (6.png), 1 changed (3.png)"
    err = capsys.readouterr().err
    assert f"{differ}: put them back" in err and "--allow-changes" in err
    assert recipe("--allow-changes") == 0
    assert f"{differ}: going on with the data as they are" in capsys.readouterr().err
    assert record(here)["sessions"][-1]["changes"]["data"] == differ
    assert runs(here) == ["001"]
    assert [step for step, _ in logged(here)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_pictures_that_were_only_touched_are_the_same(here):
    stopped_at(4)
    for path in (here / "mine").iterdir():
        os.utime(path, (1, 1))
    assert recipe() == 0
    assert recipe("--fresh") == 0
    assert logged(here, "001") == logged(here, "002")


@pytest.mark.slow
def test_without_the_old_pictures_it_is_said_that_data_differ(here, capsys):
    stopped_at(4)
    (here / "mine" / "0.png").unlink()
    shutil.rmtree(here / "cache")
    assert recipe() == 3
    assert "the data differ from what the run began with: put them back" in capsys.readouterr().err


def test_another_machine_is_close_only_and_the_same_one_says_nothing(here, monkeypatch, capsys):
    stopped_at(2)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        there = {**origin.versions(), "torch": "9.9"}
        patch.setattr(origin, "versions", lambda: there)
        stopped_at(2)
    err = capsys.readouterr().err
    assert "warning: going on from step 2; close, not bitwise equal: torch " in err and " → 9.9\n" in err


@pytest.mark.parametrize("knew", [True, False])
def test_other_fast_settings_are_close_only_and_an_older_recipe_did_not_keep_them(here, monkeypatch, capsys, knew):
    """As where a compiler was installed in between, and `auto` takes it."""
    made_with = origin.Origin.made_with.fget
    with monkeypatch.context() as patch:
        if not knew:
            older = property(lambda self: {key: was for key, was in made_with(self).items() if key != "settings"})
            patch.setattr(origin.Origin, "made_with", older)
        stopped_at(2)
    capsys.readouterr()
    monkeypatch.setattr(origin, "named", lambda compute: ["compile"])
    stopped_at(1)
    err = capsys.readouterr().err
    assert "going on from step 2" in err
    assert ("close, not bitwise equal: settings " in err and " → compile\n" in err) == knew


@pytest.mark.slow
def test_a_newer_recipes_checkpoint_is_not_called_damaged(here, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
        stopped_at(2)
    assert recipe() == 7
    err = capsys.readouterr().err
    assert "written by a newer recipe: update recipe" in err
    assert "damaged" not in err


def test_a_folder_that_is_removed_in_the_midst_stays_removed(here, capsys):
    run = here / "outputs" / "tiny" / "001"
    with at_step(3, lambda keeper: shutil.rmtree(run)):
        assert recipe() == 5
    assert "tiny/001 is gone" in capsys.readouterr().err
    assert not run.exists()


def test_which_changes_may_be_made():
    now = {"training": {"batch_size": 2, "gradient_accumulation_steps": 4}, "data": {}, "sampling": {"a": {"b": 1}}}
    split = changes({**now, "training": {"batch_size": 8, "gradient_accumulation_steps": 1}}, now)
    assert forbidden(split, now) == []
    bucketed = {**now, "data": {"aspect_ratio_buckets": {"step": 64}}}
    assert forbidden(split, bucketed) == split
    other = changes({**now, "training": {"batch_size": 4, "gradient_accumulation_steps": 4}}, now)
    assert forbidden(other, now) == other == [("training.batch_size", 4, 2)]
    deep = changes({**now, "sampling": None}, now) + changes({**now, "sampling": {"a": {"b": 2}}}, now)
    assert forbidden(deep, now) == []
    assert made_anew(deep) and not made_anew(split)
    assert changes({**now, "description": "a"}, {**now, "description": "b"}) == []


def test_what_was_settled_is_kept_where_the_same_is_asked():
    before = {"id": "/a", "revision": None, "loras": [{"id": "x/y", "revision": None}], "size": "auto", "steps": 1}
    settled = {"id": "/a", "revision": "c0", "loras": [{"id": "x/y", "revision": "c1"}], "size": 8, "steps": 1}
    given, now = {**before, "id": "./a", "steps": 2}, {**before, "steps": 2}
    assert kept(given, now, before, settled) == {**settled, "id": "./a", "steps": 2}
    assert kept({**given, "loras": []}, {**now, "loras": []}, before, settled)["loras"] == []
    assert kept({**given, "size": 4}, {**now, "size": 4}, before, settled)["size"] == 4
    more = {**settled, "freeze": []}  # a key that only settling adds
    assert kept(now, now, before, more)["freeze"] == []
    assert kept(more, more, more, before) == before
