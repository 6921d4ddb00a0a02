"""What is wrong with a model's files, by the command: one sentence, the exit code, and nothing is drawn."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from runner.cli import main
from runner.models import toys

UNET = "unet/diffusion_pytorch_model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * b"a" + b"\nsize 12345\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    toys.stable_diffusion(folder)
    return folder


@pytest.fixture
def model(here, toy):
    """A copy of the toy to damage, and a recipe that draws with it."""
    shutil.copytree(toy, here / "model")
    (here / "draw.yaml").write_text(
        "version: 1\nname: drawn\nmodel: {type: pretrained, id: ./model}\n"
        "sampling: {prompts: [a], num_inference_steps: 2, height: 32, width: 32}\n"
    )
    return here / "model"


def tensors(change):
    def damage(model):
        held = load_file(model / UNET)
        change(held)
        save_file(held, model / UNET, metadata={"format": "pt"})

    return damage


def written(name, change):
    def damage(model):
        (model / name).write_bytes(change((model / name).read_bytes()))

    return damage


def described(name, **values):
    def damage(model):
        config = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**config, **values}))

    return damage


def pickled(model):
    torch.save(load_file(model / UNET), model / "unet" / "diffusion_pytorch_model.bin")
    (model / UNET).unlink()


def flipped(data):
    return data[:20] + bytes([data[20] ^ 4]) + data[21:]


FAULTS = {
    "missing tensor": (tensors(lambda t: t.pop("conv_in.weight")), 4, "lack conv_in.weight"),
    "surplus tensor": (tensors(lambda t: t.update(extra=torch.zeros(2))), 4, "surplus of extra"),
    "other shape": (tensors(lambda t: t.update({"conv_in.bias": torch.zeros(9)})), 4, "conv_in.bias should be"),
    "NaN": (tensors(lambda t: t["conv_in.weight"].view(-1)[3:4].fill_(float("nan"))), 4, "NaN in conv_in.weight"),
    "cut short": (written(UNET, lambda data: data[:-1000]), 4, "is cut short"),
    "empty": (written(UNET, lambda _: b""), 4, "is empty"),
    "LFS pointer": (written(UNET, lambda _: POINTER), 4, "Git LFS placeholder"),
    "web page": (written(UNET, lambda _: b"<!DOCTYPE html><html>not found</html>"), 4, "is a web page"),
    "flipped bit in the header": (written(UNET, flipped), 4, "unet/diffusion_pytorch_model.safetensors"),
    "pickle only": (pickled, 6, "--allow-pickle"),
    "another family": (described("model_index.json", _class_name="CogVideoXPipeline"), 4, "CogVideoXPipeline"),
    "absurd sizes": (described("unet/config.json", block_out_channels=[1000000, 2000000]), 4, "unet/config.json"),
    "code": (described("model_index.json", unet=["os", "system"]), 6, "cannot run code"),
    "no JSON": (written("unet/config.json", lambda data: data[:-9]), 4, "unet/config.json"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_model_is_one_sentence(model, here, capsys, name):
    damage, code, words = FAULTS[name]
    damage(model)
    assert main(["run", "draw.yaml"]) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not list(here.rglob("samples/*.png"))


def test_a_pickle_is_read_as_data_when_the_command_line_allows_it(model, here):
    assert main(["run", "draw.yaml"]) == 0
    pickled(model)
    assert main(["run", "draw.yaml", "--allow-pickle"]) == 0
    one, other = (here / "outputs" / "drawn" / run / "samples" / "00000.png" for run in ("001", "002"))
    assert one.read_bytes() == other.read_bytes()


def test_a_pickle_with_code_in_it_runs_nothing(model, here, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(here / "owned"), "w"))

    held = {**load_file(model / UNET), "conv_in.bias": Evil()}
    (model / UNET).unlink()
    torch.save(held, model / "unet" / "diffusion_pytorch_model.bin")
    assert main(["run", "draw.yaml", "--allow-pickle"]) == 6
    assert "holds more than weights" in capsys.readouterr().err
    assert not (here / "owned").exists()


@pytest.mark.parametrize("name", ["missing", "model/unet/config.json"])
def test_an_id_that_is_no_model(model, here, capsys, name):
    assert main(["run", "draw.yaml", f"model.id=./{name}"]) == 4
    assert name in capsys.readouterr().err


def test_a_lora_of_another_family_is_one_sentence_and_nothing_else(model, here, capfd):
    toys.stable_diffusion_xl(here / "xl")
    toys.lora(here / "xl.safetensors", here / "xl")
    whole = load_file(here / "xl.safetensors")
    save_file({key: tensor for key, tensor in whole.items() if key.startswith("unet")}, here / "unet.safetensors")
    for name, why in (
        ("xl", "was made for a model with a text_encoder_2, and this one has none"),
        ("unet", "was made for text 80 wide and this model's is 32 wide"),
    ):
        capfd.readouterr()
        assert main(["run", "draw.yaml", "--quiet", f"model.loras=[{{id: ./{name}.safetensors}}]"]) == 4
        path = here / f"{name}.safetensors"
        assert capfd.readouterr().err == f"recipe: {path} {why}: take one made for stable_diffusion\n"


@pytest.mark.parametrize(
    "given",
    [
        f"model.id={500 * 'x'}/y",
        f"model.id=./{300 * 'x'}",
        f"model.vae={{id: {300 * 'x'}}}",
        f"model.vae={{id: ./{300 * 'x'}}}",
        f"model.embeddings=[{{id: {300 * 'x'}.safetensors}}]",
        f"model.loras=[{{id: ./{300 * 'x'}.safetensors}}]",
    ],
)
def test_a_name_longer_than_any_file_s_is_one_sentence(model, capsys, given):
    assert main(["run", "draw.yaml", "--quiet", given]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"correct {given.partition('=')[0]}" in err
