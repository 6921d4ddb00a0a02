"""What is frozen stays as it was to the last bit, and the optimizer knows nothing of it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from runner.methods import method_of
from runner.models import toys
from tests.conftest import each
from tests.training.finetune import recipe, run, settled, weights

FEW = {"max_train_steps": 3, "ema": {"decay": 0.9}}


def remembered(folder):
    """The shapes of what the optimizer keeps for each weight, and the names of the weights in the checkpoint."""
    (checkpoint,) = (folder / "checkpoints").iterdir()
    state = load_file(checkpoint / "optimizer.safetensors")
    shapes = {int(key.split(".")[0]): tuple(state[key].shape) for key in state if key.endswith(".exp_avg")}
    groups = json.loads((checkpoint / "state.json").read_text())["optimizer"]["param_groups"]
    assert sorted(shapes) == [index for group in groups for index in group["params"]]
    assert {int(key.split(".")[0]) for key in state} == set(shapes)
    return [shapes[index] for index in sorted(shapes)], set(load_file(checkpoint / "parameters.safetensors"))


def learns_all(name):
    return name.startswith("unet.")


def learns_decoder(name):
    return name.startswith("unet.") and not name.startswith(("unet.down_blocks.", "unet.mid_block."))


def learns_attention(name):
    return name.startswith("text_encoder.encoder.layers.") and ".mlp." not in name


@pytest.mark.parametrize(
    ("sections", "learns"),
    [
        ({"compute": {"mixed_precision": "bf16"}}, learns_all),
        pytest.param(
            {"freeze": ["vae", "text_encoder", "unet.down_blocks.*", "unet.mid_block"]},
            learns_decoder,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"freeze": ["vae", "unet", "text_encoder.embeddings", "*.mlp", "text_encoder.final*"]},
            learns_attention,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_weights_outside_what_learns_do_not_change(here, toy, sections, learns):
    folder = toy("stable_diffusion")
    made = run(recipe(folder, training=FEW, **sections))
    before, after = weights(folder), weights(made / "model")
    assert before.keys() == after.keys()
    expected = [name for name in before if learns(name)]
    assert 0 < len(expected) < len(before)
    assert [name for name in before if not torch.equal(before[name], after[name])] == expected
    shapes, names = remembered(made)
    assert names == set(expected)
    assert shapes == [tuple(before[name].shape) for name in expected]


@pytest.fixture
def kept(monkeypatch):
    """The families that runs have saved, as they were then."""
    families = []

    def keep(values):
        method = method_of(values)
        save = method.save

        def saved(family, *arguments):
            families.append(family)
            save(family, *arguments)

        monkeypatch.setattr(method, "save", saved)
        return families

    return keep


WORD = {"type": "textual_inversion", "token": "<rose>", "num_vectors": 2}
LORA = {"type": "lora", "rank": 2, "dropout": 0.1}


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        pytest.param("stable_diffusion", WORD, marks=pytest.mark.slow),
        pytest.param("stable_diffusion_xl", WORD, marks=pytest.mark.slow),
        ("stable_diffusion", LORA | {"parts": ["unet", "text_encoder"]}),
        # All of the second encoder is used, and not the last layer of the first.
        pytest.param("stable_diffusion_xl", LORA | {"parts": ["unet", "text_encoder_2"]}, marks=pytest.mark.slow),
    ],
)
def test_an_adapter_leaves_the_model_as_it_was(here, toy, kept, name, adapter):
    folder = toy(name)
    values = recipe(folder, training=FEW, adapter=adapter)
    families = kept(values)
    made = run(values)
    (family,) = families
    before = weights(folder)
    after, learned = {}, {}
    for part, module in family.parts.items():
        for key, parameter in module.named_parameters():
            plain = f"{part}.{key}".replace(".base_layer.", ".")
            (learned if "lora_" in key or "trainable_tokens" in key else after)[plain] = parameter
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert torch.equal(after[key][: len(tensor)], tensor), key  # a new word has rows below those of the others
    shapes, names = remembered(made)
    assert names == set(learned)
    assert sorted(shapes) == sorted(tuple(parameter.shape) for parameter in learned.values())
    assert not any(parameter.requires_grad for parameter in after.values())


@pytest.mark.parametrize("freeze", each([None, ["vae"]], few=(["vae"],)))
def test_a_safety_checker_never_learns(here, tmp_path, freeze):
    toys.stable_diffusion(tmp_path / "checked", safety_checker=2.0)
    sections = {} if freeze is None else {"freeze": freeze}
    made = run(recipe(tmp_path / "checked", training={"max_train_steps": 2}, **sections))
    learned = load_file(made / "checkpoints" / "step-000002" / "parameters.safetensors")
    assert {name.split(".")[0] for name in learned} == {"unet"} | ({"text_encoder"} if freeze else set())
    assert settled(made)["freeze"][-1] == "safety_checker"
