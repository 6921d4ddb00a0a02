"""LoRA: what it adds, and its files in plain diffusers."""

import json

import pytest
import torch
from safetensors.torch import load_file, safe_open

from runner.errors import ModelError
from runner.methods import lora
from tests.conftest import each
from tests.methods.learning import ASKED, attached, learned, pictures, plain_pictures, values
from tests.models.drawing import built, drawn, extra

PARTS = [["unet"], ["text_encoder"], ["unet", "text_encoder"]]


def lay(path):
    return lambda pipeline: pipeline.load_lora_weights(path.parent, weight_name=path.name)


@pytest.mark.parametrize("parts", each(PARTS, few=PARTS[2:]), ids="+".join)
def test_both_files_draw_in_plain_diffusers_what_the_run_draws(folder, tmp_path, parts):
    section = values("lora", parts=parts, formats=["diffusers", "kohya"])
    family, groups = attached(folder, section)
    learned(groups)
    lora.save(family, section, tmp_path / "model")
    ours = pictures(family)[0].tobytes()
    assert ours != plain_pictures(folder, lambda pipeline: None)[0].tobytes()
    for name in (lora.WEIGHTS, lora.KOHYA):  # alpha is half of the rank
        assert plain_pictures(folder, lay(tmp_path / "model" / name))[0].tobytes() == ours, name


@pytest.mark.parametrize("parts", each(PARTS, few=PARTS[2:]), ids="+".join)
def test_dora_draws_in_plain_diffusers_what_the_run_draws(folder, tmp_path, parts):
    section = values("lora", use_dora=True, parts=parts)
    family, groups = attached(folder, section)
    learned(groups, 0.1)
    lora.save(family, section, tmp_path / "model")
    assert plain_pictures(folder, lay(tmp_path / "model" / lora.WEIGHTS))[0].tobytes() == pictures(family)[0].tobytes()


def test_only_the_matrices_learn_in_fp32_and_they_follow_from_the_seed(folder):
    section = values("lora")
    family, groups = attached(folder, section)
    (group,) = groups
    assert all("lora_" in name and name.startswith("unet.") for name in group.parameters)
    assert all(p.dtype is torch.float32 for p in group.parameters.values())
    learning = {id(p) for p in group.parameters.values()}
    for part in family.parts.values():
        assert all(p.requires_grad is (id(p) in learning) for p in part.parameters())
    again = attached(folder, section)[1][0].parameters
    other = attached(folder, {**section, "seed": 2})[1][0].parameters
    assert all(torch.equal(group.parameters[key], again[key]) for key in again)
    assert not all(torch.equal(group.parameters[key], other[key]) for key in other)


def test_kohyas_file_names_modules_as_its_scripts_do_and_holds_alpha(folder, tmp_path):
    section = values("lora", parts=["unet", "text_encoder"], formats=["diffusers", "kohya"])
    family, _ = attached(folder, section)
    lora.save(family, section, tmp_path / "model")
    held = load_file(tmp_path / "model" / lora.KOHYA)
    text = "lora_te1" if len(family.TEXT_PARTS) > 1 else "lora_te"
    first = f"{text}_text_model_encoder_layers_0_self_attn_q_proj"
    assert held[f"{first}.lora_down.weight"].shape[0] == held[f"{first}.lora_up.weight"].shape[1] == 4
    alphas = [tensor for key, tensor in held.items() if key.endswith(".alpha")]
    assert len(alphas) == len(held) / 3 and all(alpha == 2 for alpha in alphas)
    assert {key.split("_text_model")[0].split("_down")[0].split("_up")[0].split("_mid")[0] for key in held} == {
        text,
        "lora_unet",
    }


def test_the_file_of_diffusers_names_its_alpha(folder, tmp_path):
    section = values("lora")
    family, _ = attached(folder, section)
    lora.save(family, section, tmp_path / "model")
    with safe_open(tmp_path / "model" / lora.WEIGHTS, "pt") as file:
        metadata = json.loads(file.metadata()["lora_adapter_metadata"])
    assert metadata["unet.lora_alpha"] == 2 and metadata["unet.r"] == 4


def test_dropout_is_a_thing_of_training(folder, tmp_path):
    section = values("lora", dropout=0.5)
    family, groups = attached(folder, section)
    learned(groups)
    lora.save(family, section, tmp_path / "model")
    path = tmp_path / "model" / lora.WEIGHTS
    ours = pictures(family)[0].tobytes()
    assert plain_pictures(folder, lay(path))[0].tobytes() == ours
    laid = built(folder, loras=[extra(path)])
    assert not any(module.training for part in laid.parts.values() for module in part.modules())
    assert drawn(laid, **ASKED)[0].tobytes() == ours
    with safe_open(path, "pt") as file:
        assert str(folder) not in file.metadata()["lora_adapter_metadata"]


def test_a_target_that_is_not_there_is_named_with_candidates(folder):
    section = values("lora", target_modules=["to_qq"])
    with pytest.raises(ModelError, match=r"0 modules of the unet match 'to_qq'; candidates: .*to_q"):
        attached(folder, section)


def test_a_target_need_not_be_in_every_part(folder):
    section = values("lora", parts=["unet", "text_encoder"], target_modules=["to_q", "q_proj"])
    _, groups = attached(folder, section)
    (group,) = groups
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in group.parameters} == {"to_q", "q_proj"}
    with pytest.raises(ModelError, match=r"0 modules of the text_encoder match any of them; candidates: .*q_proj"):
        attached(folder, values("lora", parts=["unet", "text_encoder"], target_modules=["to_q"]))


def test_without_kohya_there_is_one_file(folder, tmp_path):
    section = values("lora")
    lora.save(attached(folder, section)[0], section, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == [lora.WEIGHTS]
