"""Embeddings and LoRAs: the same pictures as plain diffusers, and a sentence for each that does not fit."""

import pickle

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

from runner.errors import ModelError, Refused
from runner.models import toys
from runner.models.extras import check_extra
from tests.models import kohya
from tests.models.drawing import ask, assert_same, built, differ, drawn, extra, files_of, load, picture, theirs

PROMPTS = ["a cat, EasyNegative", "the blue house, EasyNegative"]
SMALL = [prompt.lower() for prompt in PROMPTS]
"""With transformers 5 plain diffusers misses tokens that have capital letters."""
FAMILIES = {
    "stable_diffusion": (StableDiffusionPipeline, {}),
    "stable_diffusion_xl": (StableDiffusionXLPipeline, {}),
    "stable_diffusion_3": (StableDiffusion3Pipeline, {}),
    "flux": (FluxPipeline, {"height": 64, "width": 64}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A toy of each family, and a LoRA beside it."""
    root = tmp_path_factory.mktemp("toys")
    for family in FAMILIES:
        getattr(toys, family)(root / family)
        toys.lora(root / f"{family}.safetensors", root / family)
    return root


@pytest.fixture(scope="module")
def sd(folders):
    return folders / "stable_diffusion"


def with_lora(folder, path, weight=1.0, cls=StableDiffusionPipeline):
    """As diffusers documents it."""
    pipeline = load(cls, folder)
    pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="one")
    pipeline.set_adapters(["one"], [weight])
    return pipeline


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora(folders, family):
    cls, size = FAMILIES[family]
    folder, path = folders / family, folders / f"{family}.safetensors"
    ours = drawn(built(folder, loras=[extra(path, weight=0.7)]), **size)
    assert_same(ours, theirs(with_lora(folder, path, 0.7, cls), **size))
    assert differ(ours, theirs(load(cls, folder), **size))


def test_a_lora_works_in_every_task(folders, sd):
    from diffusers import StableDiffusionImg2ImgPipeline

    path = folders / "stable_diffusion.safetensors"
    call = {"image": picture(), "num_inference_steps": 5}
    expected = theirs(with_lora(sd, path, cls=StableDiffusionImg2ImgPipeline), **call)
    assert_same(drawn(built(sd, loras=[extra(path)]), **call), expected)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_two_loras(tmp_path, folders, sd):
    first, second = folders / "stable_diffusion.safetensors", tmp_path / "second.safetensors"
    toys.lora(second, sd, rank=2, seed=20)
    save_file({key: value for key, value in load_file(second).items() if key.startswith("unet")}, second)
    plain = load(StableDiffusionPipeline, sd)
    for name, path in (("one", first), ("two", second)):
        plain.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name)
    plain.set_adapters(["one", "two"], [0.5, -0.4])
    ours = built(sd, loras=[extra(first, weight=0.5), extra(second, weight=-0.4)])
    assert_same(drawn(ours), theirs(plain))


def test_a_lora_in_kohyas_layout_draws_as_the_one_it_came_from(tmp_path, folders, sd):
    source, target = folders / "stable_diffusion.safetensors", tmp_path / "kohya.safetensors"
    kohya.from_diffusers(source, target, alpha=2)
    assert_same(drawn(built(sd, loras=[extra(target)])), theirs(with_lora(sd, source)))


def test_a_lora_of_sdxl_in_kohyas_layout(tmp_path, folders):
    folder, source = folders / "stable_diffusion_xl", folders / "stable_diffusion_xl.safetensors"
    target = tmp_path / "kohya.safetensors"
    kohya.from_diffusers(source, target, alpha=1, sdxl=True)
    expected = theirs(with_lora(folder, source, cls=StableDiffusionXLPipeline))
    assert_same(drawn(built(folder, loras=[extra(target)])), expected)


def test_a_lora_from_before_transformers_5(tmp_path, folders, sd):
    source, target = folders / "stable_diffusion.safetensors", tmp_path / "old.safetensors"
    old = {key.replace("text_encoder.enc", "text_encoder.text_model.enc"): t for key, t in load_file(source).items()}
    save_file(old, target)
    assert_same(drawn(built(sd, loras=[extra(target)])), theirs(with_lora(sd, source)))


def changed(source, target, change):
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, target)
    return extra(target)


def first(tensors, part="unet"):
    return next(key for key in tensors if key.startswith(part) and "lora_A" in key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: [t.update({f"prior.{key}": t.pop(key)}) for key in list(t)],
            "of its 112 matrices 0 fill the 0",
        ),
        (lambda t: t.update({f"unet.none.{first(t)}": t.pop(first(t))}), "of its 112 matrices 111 fill the 112 places"),
        (lambda t: t.pop(first(t)), "of its 111 matrices 111 fill the 112 places"),
        (lambda t: t.update({first(t): torch.zeros(4, 9)}), " 9 wide and this model's is 32 wide"),
        (lambda t: t.update({first(t): t[first(t)] * torch.nan}), "holds NaN in unet"),
        (lambda t: [t.clear(), t.update(weight=torch.zeros(2))], r"does not fit this model \(ValueError\)"),
    ],
)
def test_a_lora_that_does_not_fit(tmp_path, folders, sd, change, words):
    given = changed(folders / "stable_diffusion.safetensors", tmp_path / "bad.safetensors", change)
    with pytest.raises(ModelError, match=words):
        built(sd, loras=[given])


def test_a_lora_of_another_family(tmp_path, folders, sd):
    xl, widths = folders / "stable_diffusion_xl.safetensors", tmp_path / "unet.safetensors"
    save_file({key: tensor for key, tensor in load_file(xl).items() if key.startswith("unet")}, widths)
    for path, why in (
        (xl, "for a model with a text_encoder_2, and this one has none"),
        (folders / "flux.safetensors", "for a model with a transformer, and this one has none"),
        (widths, "for text 80 wide and this model's is 32 wide"),
    ):
        with pytest.raises(ModelError) as found:
            built(sd, loras=[extra(path)])
        assert str(found.value) == f"{path} was made {why}: take one made for stable_diffusion"


@pytest.mark.parametrize("call", ["lora_state_dict", "load_lora_weights"])
def test_what_diffusers_raises_of_a_lora_is_not_quoted(monkeypatch, capsys, folders, sd, call):
    def broken(*_, **__):
        logging.get_logger("diffusers.loaders.peft").error("Loading was unsuccessful")
        raise RuntimeError("size mismatch for torch.Size([4, 80])")

    monkeypatch.setattr(StableDiffusionPipeline, call, broken)
    with pytest.raises(ModelError, match=r"this model \(RuntimeError\): take one made for stable_diffusion$"):
        built(sd, loras=[extra(folders / "stable_diffusion.safetensors")])
    assert capsys.readouterr().err == ""


def test_a_kohya_file_with_a_key_that_nobody_takes(tmp_path, folders, sd):
    target = tmp_path / "kohya.safetensors"
    kohya.from_diffusers(folders / "stable_diffusion.safetensors", target, alpha=2)
    given = changed(target, target, lambda t: t.update({"lora_unet_mid.hada_w1": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"is no LoRA for this model \(nothing takes lora_unet_mid\.hada_w1\): take"):
        built(sd, loras=[given])


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("negative", [{}, {"negative_prompt": "EasyNegative, red"}])
def test_an_embedding(tmp_path, sd, vectors, negative):
    path = tmp_path / "EasyNegative.safetensors"
    toys.embedding(path, vectors=vectors)
    plain = load(StableDiffusionPipeline, sd)
    plain.load_textual_inversion(path, token="easynegative")
    family = built(sd, embeddings=[extra(path)])
    texts = {key: [value] * 2 for key, value in negative.items()}
    small = {key: [value.lower()] * 2 for key, value in negative.items()}
    ours = drawn(family, prompts=PROMPTS, **negative)
    assert_same(ours, theirs(plain, prompts=SMALL, **small))
    assert differ(ours, theirs(load(StableDiffusionPipeline, sd), prompts=PROMPTS, **texts))


@pytest.mark.parametrize("name", ["diffusers", "bare"])
def test_the_token_that_a_file_names(tmp_path, sd, name):
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(4))
    path = tmp_path / "some-cat.safetensors"
    save_file({"<cat-toy>" if name == "diffusers" else "emb_params": vectors}, path)
    word = "<cat-toy>" if name == "diffusers" else "some-cat"
    plain = load(StableDiffusionPipeline, sd)
    plain.load_textual_inversion(path, token=word)
    prompts = [f"a {word}"]
    assert_same(drawn(built(sd, embeddings=[extra(path)]), prompts=prompts), theirs(plain, prompts=prompts))
    renamed = built(sd, embeddings=[extra(path, token="other")])
    assert differ(drawn(renamed, prompts=prompts), theirs(plain, prompts=prompts))
    assert "other" in renamed._pipeline.tokenizer.get_vocab()


def test_an_embedding_for_both_encoders_of_sdxl(tmp_path, folders):
    folder, path = folders / "stable_diffusion_xl", tmp_path / "EasyNegative.safetensors"
    toys.embedding(path, family="stable_diffusion_xl", vectors=2)
    plain = load(StableDiffusionXLPipeline, folder)
    tables = load_file(path)
    encoders = (("clip_l", plain.text_encoder, plain.tokenizer), ("clip_g", plain.text_encoder_2, plain.tokenizer_2))
    for key, text_encoder, tokenizer in encoders:
        plain.load_textual_inversion(tables[key], token="easynegative", text_encoder=text_encoder, tokenizer=tokenizer)
    ours = drawn(built(folder, embeddings=[extra(path)]), prompts=PROMPTS)
    assert_same(ours, theirs(plain, prompts=SMALL))


def test_an_embedding_beside_a_lora(tmp_path, folders, sd):
    path, lora = tmp_path / "EasyNegative.safetensors", folders / "stable_diffusion.safetensors"
    toys.embedding(path)
    plain = load(StableDiffusionPipeline, sd)
    plain.load_textual_inversion(path, token="easynegative")
    plain.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="one")
    plain.set_adapters(["one"], [0.6])
    family = built(sd, embeddings=[extra(path)], loras=[extra(lora, weight=0.6)])
    assert_same(drawn(family, prompts=PROMPTS), theirs(plain, prompts=SMALL))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"emb_params": torch.zeros(2, 48)}, "vectors 48 wide and the model's text_encoder 32"),
        ({"clip_l": torch.zeros(1, 32), "clip_g": torch.zeros(1, 48)}, "vectors for text_encoder_2 too, which a"),
        ({"clip_g": torch.zeros(1, 48)}, "vectors for text_encoder_2 too, which a"),
        ({"a": torch.zeros(2, 32), "b": torch.zeros(2, 32)}, "no embedding: it should hold one table"),
        ({"emb_params": torch.zeros(2, 2, 32)}, "its vectors are no table"),
        ({"emb_params": torch.full((2, 32), torch.nan)}, "holds NaN in text_encoder"),
        ({"flower</w>": torch.zeros(1, 32)}, "knows the word 'flower</w>' already"),
    ],
)
def test_an_embedding_that_does_not_fit(tmp_path, sd, tensors, words):
    path = tmp_path / "bad.safetensors"
    save_file(tensors, path)
    with pytest.raises(ModelError, match=words):
        built(sd, embeddings=[extra(path)])


def test_an_embedding_that_no_text_names_is_said(tmp_path, sd):
    path = tmp_path / "EasyNegative.safetensors"
    toys.embedding(path)
    family = built(sd, embeddings=[extra(path)])
    assert family.notices(ask(family, negative_prompt="blurry")) == [
        "the embedding 'EasyNegative' is in no prompt and not in negative_prompt 'blurry', where it changes nothing: "
        "write its word there"
    ]
    assert family.notices(ask(family, prompts=["a cat", "a (EasyNegative:1.2) dog"], prompt_syntax="weighted")) == []
    assert family.notices(ask(family, negative_prompt="blurry, EasyNegative")) == []
    assert len(family.notices(ask(family, negative_prompt="easynegative"))) == 1  # another word


def test_an_embedding_twice(tmp_path, sd):
    path = tmp_path / "EasyNegative.safetensors"
    toys.embedding(path)
    with pytest.raises(ModelError, match="knows the word 'EasyNegative' already"):
        built(sd, embeddings=[extra(path), extra(path)])


def test_an_embedding_made_for_another_family(tmp_path, folders):
    path = tmp_path / "EasyNegative.safetensors"
    toys.embedding(path)
    with pytest.raises(ModelError, match="no vectors for text_encoder_2"):
        built(folders / "stable_diffusion_xl", embeddings=[extra(path)])
    for family in ("stable_diffusion_3", "flux"):
        with pytest.raises(ModelError, match=f"a {family} model takes no embeddings"):
            built(folders / family, embeddings=[extra(path)])


def test_pickles_only_where_they_are_allowed(tmp_path, sd):
    path = tmp_path / "EasyNegative.pt"
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    torch.save({"string_to_param": {"*": vectors}, "name": "EasyNegative"}, path)
    with pytest.raises(Refused, match=r"EasyNegative\.pt is a pickle: .*--allow-pickle reads it with weights_only"):
        check_extra(files_of(tmp_path), path.name, allow_pickle=False)
    check_extra(files_of(tmp_path), path.name, allow_pickle=True)
    plain = load(StableDiffusionPipeline, sd)
    plain.load_textual_inversion({"easynegative": vectors}, token="easynegative")
    assert_same(drawn(built(sd, embeddings=[extra(path)]), prompts=PROMPTS), theirs(plain, prompts=SMALL))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_of_code_is_not_run(tmp_path, sd):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / "EasyNegative.pt"
    path.write_bytes(pickle.dumps({"name": Trap()}))
    for given in ({"embeddings": [extra(path)]}, {"loras": [extra(path)]}):
        with pytest.raises(ModelError, match="weights_only"):
            built(sd, **given)
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_file(tmp_path, folders, sd):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((folders / "stable_diffusion.safetensors").read_bytes()[:-10])
    with pytest.raises(ModelError, match="is cut short"):
        check_extra(files_of(tmp_path), path.name, allow_pickle=False)
    for given in ({"embeddings": [extra(path)]}, {"loras": [extra(path)]}):
        with pytest.raises(ModelError, match="is cut short"):
            built(sd, **given)
