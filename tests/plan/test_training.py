"""What the plan says of a training stage's memory."""

import json

import pytest
import yaml

from runner.cli import main
from tests.plan.test_processes import planned
from tests.training.conftest import toy  # noqa: F401 - the fixture
from tests.training.finetune import UNCACHED, recipe


def test_scores_that_are_written_out_take_memory(here, capsys):
    """Four attentions of 64 tokens, 2 heads and 2 pictures, in fp32; the fused kernel keeps what it gives instead."""
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    fused, eager = (
        planned(capsys, f"compute.eager_attention={on}", "compute.mixed_precision=fp32", model=blocks)["training"]
        for on in ("false", "true")
    )
    more = eager["memory"]["activations"] - fused["memory"]["activations"]
    scores, given = 2 * 64 * 64, 64 * 16
    assert more == 4 * 2 * (scores - given) * 4
    assert eager["flops"] == fused["flops"]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"freeze": ["vae", "text_encoder"]}, ["cache_latents", "cache_text_embeddings"]),
        ({"freeze": ["vae"]}, ["cache_latents"]),
        ({"training": {"cache_latents": False}}, ["cache_text_embeddings"]),
        ({"training": UNCACHED}, []),
    ],
)
def test_the_plan_names_what_is_computed_once_and_kept(here, capsys, toy, sections, told):  # noqa: F811
    (here / "recipe.yaml").write_text(yaml.safe_dump(recipe(toy("stable_diffusion"), **sections)))
    assert main(["run", "recipe.yaml", "--dry-run", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["caches"] == told
    assert main(["run", "recipe.yaml", "--dry-run"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines if line[0] == "caches"] == ([", ".join(told)] if told else [])


def test_a_pixel_model_has_nothing_to_keep(here, capsys):
    assert planned(capsys)["training"]["caches"] == []
