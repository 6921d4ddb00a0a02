"""The benchmarks compare what they say they do; how fast it is, nobody asserts."""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from runner.data.builtin import Builtin
from runner.data.cache import prepare
from runner.processes.world import World
from runner.progress import silent
from tests.benchmarks import data, scaling

FOLDER = Path(__file__).parent / "benchmarks"
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text("utf-8"))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_says_what_it_does(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"python -m tests.benchmarks.{name}" in capsys.readouterr().out


@pytest.mark.parametrize("larger", [1, 1.5])
def test_pillow_and_the_cache_give_the_same_pictures(tmp_path, larger):
    folder = data.photographs(tmp_path / "pictures", 20, round(32 * larger), "png")
    pillow = data.by_pillow(folder, 32)
    cached = data.from_cache(*data.prepared(folder, 32, tmp_path / "cache"))
    for _ in range(3):
        pixels, mirrored = cached()
        pictures = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        assert mirrored.any() and torch.equal(pictures, pillow().permute(0, 3, 1, 2))


def test_a_set_of_any_size_is_one_that_a_run_takes_for_its_own(tmp_path):
    scaling.write(30, tmp_path)
    (before,) = (tmp_path / "pictures").iterdir()
    source = Builtin(num_images=30, kinds=None, resolution=scaling.SMALLEST, label_by="kind")
    section = {"resolution": scaling.SMALLEST}
    pictures = prepare(source, section=section, cache_dir=tmp_path, progress=silent(), world=World())
    assert len(pictures) == 30 and pictures.name(7) == "flower 7"
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [before.name]
