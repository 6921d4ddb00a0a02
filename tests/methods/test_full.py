"""Full fine-tuning: what is frozen stays, what is not learns at its own rate."""

import pytest
from diffusers import DiffusionPipeline

from runner.methods import full
from runner.methods.full import frozen
from tests.methods.learning import attached, learned, pictures, plain_pictures, values


def names(groups):
    return {name for group in groups for name in group.parameters}


@pytest.mark.parametrize(
    ("name", "patterns", "told"),
    [
        ("unet.conv_in.weight", ["unet"], True),
        ("unet.conv_in.weight", ["vae"], False),
        ("unet.down_blocks.0.resnets.1.conv1.weight", ["unet.down_blocks.*"], True),
        ("unet.up_blocks.0.resnets.1.conv1.weight", ["unet.down_blocks.*"], False),
        ("unet.down_blocks.1.attentions.0.norm.weight", ["unet.*.attentions"], True),
        ("unet.down_blocks.1.resnets.0.norm1.weight", ["unet.*.attentions"], False),
        ("unet.conv_in.weight", ["unet.conv_in"], True),
        ("unet.conv_input.weight", ["unet.conv_in"], False),
    ],
)
def test_globs_name_modules_and_all_below_them(name, patterns, told):
    assert frozen(name, patterns) is told


def test_what_is_frozen_learns_not_and_is_in_no_group(folder):
    freeze = ["vae", "text_encoder", "text_encoder_2", "unet.down_blocks.*"]
    family, groups = attached(folder, values(freeze=freeze))
    expected = {
        f"unet.{key}" for key, _ in family.parts["unet"].named_parameters() if not key.startswith("down_blocks.")
    }
    assert names(groups) == expected and len(groups) == 1
    for part, module in family.parts.items():
        for key, parameter in module.named_parameters():
            assert parameter.requires_grad is (f"{part}.{key}" in expected)
    assert family.parts["unet"].training and not family.parts["vae"].training


def test_a_text_encoder_learns_at_its_own_rate_and_scale_lr_multiplies(folder):
    training = {"text_encoder_learning_rate": 1e-5, "scale_lr": True}
    _, groups = attached(folder, values(freeze=["vae"], training=training))
    rates = {group.learning_rate: {name.split(".")[0] for name in group.parameters} for group in groups}
    assert rates[1e-3 * 6] == {"unet"}
    assert rates[1e-5 * 6] == set(attached(folder, values(freeze=[]))[0].TEXT_PARTS)


def test_the_whole_model_is_kept_as_plain_diffusers_reads_it(folder, tmp_path):
    section = values(freeze=["vae", "text_encoder", "text_encoder_2"])
    family, groups = attached(folder, section)
    learned(groups, 0.01)
    full.save(family, section, tmp_path / "model")
    saved = DiffusionPipeline.from_pretrained(tmp_path / "model")
    assert type(saved).__name__ == family.facts.pipeline
    ours, theirs = pictures(family), plain_pictures(tmp_path / "model", lambda pipeline: None)
    assert ours[0].tobytes() == theirs[0].tobytes() != plain_pictures(folder, lambda pipeline: None)[0].tobytes()
