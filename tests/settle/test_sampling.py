"""Settling the `sampling` section: where problems are told, and with which mend."""

import pytest
from PIL import Image

from runner.cli import main
from runner.models import toys


@pytest.fixture
def planned(here, capsys):
    """What planning a recipe says, which the toy in ./model draws."""
    toys.stable_diffusion(here / "model")
    Image.new("RGB", (64, 64)).save(here / "a.png")

    def run(sampling, model="./model"):
        text = f"version: 1\nname: a\nmodel: {{type: pretrained, id: {model}}}\nsampling:\n  prompts: [a cat]\n"
        (here / "a.yaml").write_text(text + "".join(f"  {line}\n" for line in sampling))
        code = main(["run", "a.yaml", "--dry-run"])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("sampling", "place"),
    [
        (["init_image: a.png", "matrix: {height: [64, 128]}"], "7:20"),
        (["init_image: a.png", "matrix: {width: [64, 128]}"], "7:19"),
        (["init_image: a.png", "height: 64"], "7:11"),
        (["init_image: a.png", "height: 64", "width: null"], "8:10"),
    ],
)
def test_a_missing_side_is_told_at_the_other(planned, sampling, place):
    code, said = planned(sampling)
    assert code != 0
    assert f"a.yaml:{place}: give both height and width, or neither" in said


def test_a_model_that_is_no_refiner_is_refused_with_a_mend(planned, here):
    toys.stable_diffusion_xl(here / "xl")
    code, said = planned(["refiner: {id: ./model}"], model="./xl")
    assert code == 4
    assert "is a stable_diffusion model and no SDXL refiner: name one, such as stabilityai/" in said
    assert "or take 'refiner:' out" in said


def test_a_file_that_is_no_picture_is_not_told_what_it_holds(planned, here):
    (here / "secrets.txt").write_text("root:hunter2\n")
    code, said = planned(["init_image: secrets.txt"])
    assert code != 0
    assert "(it is text): give another picture" in said
    assert "hunter2" not in said
