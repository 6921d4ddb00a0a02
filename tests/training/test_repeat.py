"""A run that is repeated from its folder leaves the same files."""

from pathlib import Path

import pytest

from runner.cli import main
from tests.training.finetune import recipe, run

VELOCITY = {"type": "DDPM", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
WAYS = {
    "full": {"scheduler": VELOCITY},
    "lora": {"adapter": {"type": "lora", "rank": 4, "dropout": 0.1}, "output": {"formats": ["diffusers", "kohya"]}},
    "word": {"adapter": {"type": "textual_inversion", "token": "<rose>"}},
}


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in (folder / "model").rglob("*")
        if path.is_file() and path.name != "README.md"
    }


@pytest.mark.parametrize("way", WAYS)
def test_the_model_and_the_settled_recipe_are_the_same_byte_for_byte(here, toy, way):
    first = run(recipe(toy("stable_diffusion"), training={"max_train_steps": 3}, **WAYS[way]))
    assert main(["run", str(first), "--quiet"]) == 0  # the second finds what the first has cached
    second = Path("outputs", "tuned", "latest").resolve()
    assert second != first
    assert files(second) == files(first)
    assert (second / "settled.yaml").read_text() == (first / "settled.yaml").read_text()
