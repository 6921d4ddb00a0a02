"""Which models are taken, and what is refused before anything is loaded."""

import json
import shutil

import pytest
import torch
from transformers import BlipForConditionalGeneration

from runner.captioning import inspect
from runner.errors import ModelError, Refused
from tests.captioning.conftest import files_of


@pytest.fixture
def copy(blip, tmp_path):
    """A BLIP of one's own to spoil: `copy(file, key=value)` changes one of its JSON files."""
    folder = tmp_path / "blip"
    shutil.copytree(blip, folder)

    def change(name, **values):
        path = folder / name
        found = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**found, **values}))
        return folder

    return change


def test_a_model_is_told_by_its_files_alone(blip):
    facts = inspect(files_of(blip), allow_pickle=False)
    model = BlipForConditionalGeneration.from_pretrained(blip)
    assert facts.parameters == sum(tensor.numel() for tensor in model.parameters())
    assert (facts.model_type, facts.cls) == ("blip", "BlipForConditionalGeneration")
    assert set(facts.names) == {path.name for path in blip.iterdir()}


def test_a_chat_model_brings_its_template(llava):
    facts = inspect(files_of(llava), allow_pickle=False)
    assert facts.cls == "LlavaForConditionalGeneration"
    assert "chat_template.jinja" in facts.names


def test_the_fingerprint_follows_the_weights(copy, blip):
    folder = copy("config.json")
    before = inspect(files_of(blip), allow_pickle=False).fingerprint()
    shutil.copy(blip / "config.json", folder / "config.json")
    assert inspect(files_of(folder), allow_pickle=False).fingerprint() == before
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert inspect(files_of(folder), allow_pickle=False).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("config.json", {"auto_map": {"AutoModel": "mine.Model"}}, "auto_map"),
        ("config.json", {"text_config": {"auto_map": {}}}, "auto_map"),
        ("config.json", {"attn_implementation": "someone/kernel"}, "attn_implementation"),
        ("config.json", {"_attn_implementation": {"text_config": "someone/kernel"}}, "_attn_implementation"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["mine.Words", None]}}, "auto_map"),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "mine.Processor"}}, "auto_map"),
        ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_name_or_path": "x/y"}}, "audio_tokenizer"),
        ("generation_config.json", {"custom_generate": "x/y"}, "custom_generate"),
    ],
)
def test_a_model_that_asks_for_code_is_refused(copy, name, values, key):
    with pytest.raises(Refused, match=rf"{name} sets {key}: recipes cannot run code, choose another model") as caught:
        inspect(files_of(copy(name, **values)), allow_pickle=False)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("model_type", ["bert", None, ["blip"]])
def test_a_model_that_reads_no_pictures_is_named(copy, model_type):
    with pytest.raises(ModelError, match=r"config\.json is of type .*has no image-to-text model for: choose one"):
        inspect(files_of(copy("config.json", model_type=model_type)), allow_pickle=False)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"quantization_config": {"bits": 4}}, "is of quantized or renamed weights"),
        ({"text_config": {"num_hidden_layers": 10**9}}, "builds no BlipForConditionalGeneration"),
        ({"text_config": {"vocab_size": 10**9}}, "and its weights have .* too few"),
    ],
)
def test_a_configuration_that_cannot_be_is_told_before_loading(copy, values, says):
    with pytest.raises(ModelError, match=says):
        inspect(files_of(copy("config.json", **values)), allow_pickle=False)


def test_an_adapter_or_a_model_of_diffusers_is_no_captioner(copy, tmp_path):
    with pytest.raises(ModelError, match=r"has an adapter that lies elsewhere \(adapter_config\.json\)"):
        inspect(files_of(copy("adapter_config.json", base_model_name_or_path="x/y")), allow_pickle=False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no config\.json: data\.caption\.id names an image-to-text model"):
        inspect(files_of(other), allow_pickle=False)


@pytest.mark.parametrize("gone", ["processor_config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(copy, gone):
    folder = copy("config.json")
    (folder / gone).unlink()
    with pytest.raises(ModelError, match="is missing"):
        inspect(files_of(folder), allow_pickle=False)


def test_a_cut_weight_file_is_told(copy):
    path = copy("config.json") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is cut short"):
        inspect(files_of(path.parent), allow_pickle=False)


def test_pickles_are_read_only_where_that_is_allowed(copy):
    folder = copy("config.json")
    model = BlipForConditionalGeneration.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(Refused, match=r"holds the weights only as pickle.*--allow-pickle"):
        inspect(files_of(folder), allow_pickle=False)
    assert "pytorch_model.bin" in inspect(files_of(folder), allow_pickle=True).names
