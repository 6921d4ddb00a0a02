"""Weighted prompts: what reaches the encoder token by token, and what comes out beside diffusers' own pipelines."""

import math

import pytest
import torch
from compel.embeddings_provider import EmbeddingsProvider
from diffusers import StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from runner.models import toy_parts, toys
from runner.prompts import syntax
from runner.prompts.weighted import Encoder, encode

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    toys.stable_diffusion(folder)
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdxl")
    toys.stable_diffusion_xl(folder)
    return StableDiffusionXLPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refiner")
    toys.sdxl_refiner(folder)
    return StableDiffusionXLImg2ImgPipeline.from_pretrained(folder)


@pytest.fixture
def clip(shared_data):
    """CLIP's real tokenizer."""
    return CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer")


def encoders(pipe):
    found = []
    if getattr(pipe, "text_encoder", None) is not None:
        kind = "sdxl-1" if hasattr(pipe, "text_encoder_2") else "sd"
        found.append(Encoder(pipe.tokenizer, pipe.text_encoder, kind))
    if hasattr(pipe, "text_encoder_2"):
        found.append(Encoder(pipe.tokenizer_2, pipe.text_encoder_2, "sdxl-2"))
    return found


def same(ours, theirs):
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)


PLAIN = ["a cat, on a mat", "", "masterpiece \\(8k\\) photo", "x " * 75]
READ = ["a cat, on a mat", "", "masterpiece (8k) photo", "x " * 75]  # what diffusers is given for them


@pytest.mark.parametrize("count", [1, 2, 4])
def test_without_weights_it_is_diffusers_own(sd, count):
    ours = encode(encoders(sd), PLAIN[:count], ["a dog"] * count, device=CPU)
    positive, negative = sd.encode_prompt(READ[:count], CPU, 1, True, negative_prompt=["a dog"] * count)
    assert same(ours.prompt_embeds, positive)
    assert same(ours.negative_prompt_embeds, negative)
    assert ours.pooled_prompt_embeds is ours.negative_pooled_prompt_embeds is None


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])  # SD 2.x and SDXL's second tokenizer pad with !
def test_without_weights_with_clips_real_tokenizer(sd, clip, pad):
    clip.pad_token = pad
    pipe = StableDiffusionPipeline(**{**sd.components, "tokenizer": clip, "text_encoder": toy_parts.clip(0, clip)})
    prompts = ["a photograph of an astronaut, riding a horse!", "été 日本語 don't ! !", ""]
    ours = encode(encoders(pipe), prompts, ["bad anatomy"] * 3, device=CPU)
    positive, negative = pipe.encode_prompt(prompts, CPU, 1, True, negative_prompt=["bad anatomy"] * 3)
    assert same(ours.prompt_embeds, positive)
    assert same(ours.negative_prompt_embeds, negative)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_clip_skip_counts_as_diffusers_does(sd, skip, monkeypatch):
    ours = encode(encoders(sd), PLAIN, [""] * 4, device=CPU, clip_skip=skip)
    monkeypatch.setitem(vars(sd.text_encoder), "text_model", sd.text_encoder)  # where diffusers looks for the norm
    positive, negative = sd.encode_prompt(READ, CPU, 1, True, negative_prompt=[""] * 4, clip_skip=skip)
    assert same(ours.prompt_embeds, positive)
    assert same(ours.negative_prompt_embeds, negative)


@pytest.mark.parametrize("skip", [None, 0, 1])
@pytest.mark.parametrize("negative", [None, "a dog"])
def test_sdxl_without_weights(sdxl, skip, negative):
    ours = encode(
        encoders(sdxl), PLAIN, [negative or ""] * 4, device=CPU, clip_skip=skip, prompts_2=["red"] * 4,
        force_zeros=sdxl.config.force_zeros_for_empty_prompt,
    )  # fmt: skip
    theirs = sdxl.encode_prompt(
        READ, ["red"] * 4, CPU, 1, True, negative_prompt=negative and [negative] * 4, clip_skip=skip
    )
    found = (ours.prompt_embeds, ours.negative_prompt_embeds)
    assert all(map(same, (*found, ours.pooled_prompt_embeds, ours.negative_pooled_prompt_embeds), theirs))
    assert (not ours.negative_prompt_embeds.any()) is (negative is None)


def test_an_empty_negative_prompt_is_read_where_the_model_says_so(sdxl):
    ours = encode(encoders(sdxl), ["a cat"], [""], device=CPU)
    theirs = sdxl.encode_prompt("a cat", None, CPU, 1, True, negative_prompt="")
    assert same(ours.negative_prompt_embeds, theirs[1])
    assert same(ours.negative_pooled_prompt_embeds, theirs[3])


def test_the_refiner_has_the_second_encoder_only(refiner):
    ours = encode(encoders(refiner), PLAIN, ["a dog"] * 4, device=CPU)
    theirs = refiner.encode_prompt(READ, None, CPU, 1, True, negative_prompt=["a dog"] * 4)
    assert same(ours.prompt_embeds, theirs[0])
    assert same(ours.pooled_prompt_embeds, theirs[2])


def test_without_guidance_there_is_no_negative(sdxl):
    ours = encode(encoders(sdxl), ["a cat"], None, device=CPU)
    assert ours.negative_prompt_embeds is ours.negative_pooled_prompt_embeds is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_embeddings_have_the_encoders_number_format(sd, dtype):
    encoder = Encoder(sd.tokenizer, toy_parts.clip(0, sd.tokenizer).to(dtype), "sd")
    ours = encode([encoder], ["a (cat:1.4) [in the rain] (sun:0)"], ["long " * 90], device=CPU)
    assert ours.prompt_embeds.dtype == ours.negative_prompt_embeds.dtype == dtype
    assert ours.prompt_embeds.isfinite().all()


def test_the_pipeline_draws_from_them(sdxl):
    ours = encode(encoders(sdxl), ["a ((cat)) BREAK a [dog]"] * 2, ["(bad:1.3)"] * 2, device=CPU)
    images = sdxl(
        **vars(ours), num_images_per_prompt=2, num_inference_steps=1, height=32, width=32, output_type="np"
    ).images
    assert images.shape == (4, 32, 32, 3)


# What a weight means.


def z(sd, text, mask=None):
    ids = sd.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    return sd.text_encoder(ids, attention_mask=mask)[0].detach()


def only(sd, prompt):
    return encode(encoders(sd), [prompt], None, device=CPU).prompt_embeds


def test_a_heavier_word_moves_away_from_nothing(sd):
    plain, nothing = z(sd, "a cat"), z(sd, "")
    place = sd.tokenizer("a", add_special_tokens=False, return_length=True)["length"][0] + 1
    ends = place + sd.tokenizer("cat", add_special_tokens=False, return_length=True)["length"][0]
    expected = plain.clone()
    expected[:, place:ends] = nothing[:, place:ends] + 1.5 * (plain - nothing)[:, place:ends]
    assert torch.allclose(only(sd, "a (cat:1.5)"), expected, atol=1e-6)


def test_a_lighter_word_is_blended_with_its_absence(sd):
    weight = 0.6
    plain, nothing = z(sd, "a cat"), z(sd, "")
    first = sd.tokenizer("a", add_special_tokens=False, return_length=True)["length"][0] + 1
    ends = first + sd.tokenizer("cat", add_special_tokens=False, return_length=True)["length"][0]
    mask = torch.ones(1, 77, dtype=torch.long)
    mask[:, first:ends] = 0

    def lighter(found):
        found = found.clone()
        found[:, first:ends] = nothing[:, first:ends] + weight * (found - nothing)[:, first:ends]
        return found

    share = math.tan((1 - weight) * math.pi / 2)
    expected = (lighter(plain) + share * lighter(z(sd, "a cat", mask))) / (1 + share)
    assert torch.allclose(only(sd, f"a (cat:{weight})"), expected, atol=1e-6)


def test_pooled_is_of_the_first_chunk_without_weights(sdxl):
    ours = encode(encoders(sdxl), ["a (cat:1.5) BREAK a dog"], None, device=CPU)
    theirs = sdxl.encode_prompt("a cat", None, CPU, 1, False)
    assert same(ours.pooled_prompt_embeds, theirs[2])


# Chunks.


def test_break_begins_a_chunk(sd):
    ours = only(sd, "a cat BREAK a dog")
    assert torch.allclose(ours, torch.cat([z(sd, "a cat"), z(sd, "a dog")], dim=1), atol=1e-6)


def test_prompts_and_negatives_are_padded_to_one_length(sdxl):
    ours = encode(encoders(sdxl), ["a cat", "a BREAK b BREAK c"], ["d BREAK e"] * 2, device=CPU, prompts_2=["f", "g"])
    width = sdxl.unet.config.cross_attention_dim
    assert ours.prompt_embeds.shape == ours.negative_prompt_embeds.shape == (2, 231, width)
    cat, nothing = (encode(encoders(sdxl), [text], None, device=CPU, prompts_2=[two]).prompt_embeds
                    for text, two in (("a cat", "f"), ("", "")))  # fmt: skip
    assert torch.allclose(ours.prompt_embeds[:1], torch.cat([cat, nothing, nothing], dim=1), atol=1e-6)


# Token by token.


def reached(tokenizer, prompt, monkeypatch):
    """For each chunk the (token, weight) pairs between the markers, as they reach the encoder."""
    seen = []
    original = EmbeddingsProvider.build_weighted_embedding_tensor

    def spy(self, ids, weights, mask=None, device=None):
        if mask is None or mask.all():
            seen.append((ids, weights))
        return original(self, ids, weights, mask, device)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingsProvider, "build_weighted_embedding_tensor", spy)
        encode([Encoder(tokenizer, toy_parts.clip(0, tokenizer), "sd")], [prompt], None, device=CPU)
    chunks = []
    for ids, weights in seen:
        for start in range(0, len(ids), 77):
            chunk = ids[start : start + 77].tolist()
            assert chunk[0] == tokenizer.bos_token_id
            end = chunk.index(tokenizer.eos_token_id)
            assert set(chunk[end + 1 :]) <= {tokenizer.pad_token_id}
            tokens = tokenizer.convert_ids_to_tokens(chunk[1:end])
            own = [round(weight, 4) for weight in weights[start + 1 : start + end].tolist()]
            chunks.append(list(zip(tokens, own, strict=True)))
    return chunks


def words(text, weight=1.0):
    return [(f"{word}</w>", weight) for word in text.split()]


TABLE = [
    ("a cat", [words("a cat")]),
    ("((masterpiece,best quality))", [words("masterpiece , best quality", 1.21)]),
    ("an (important) word", [words("an") + words("important", 1.1) + words("word")]),
    ("a [cat], (dog:1.3)", [words("a") + words("cat", 0.9091) + words(",") + words("dog", 1.3)]),
    ("\\(literal\\]", [words("( literal ]")]),
    ("(never closed", [words("never closed", 1.1)]),
    ("a)", [words("a )")]),
    ("(a (cat:1.5) mat:0.5)", [words("a", 0.5) + words("cat", 0.75) + words("mat", 0.5)]),
    ("a cat++ (dog)-- \"quoted\".and()", [words("a cat ++") + words("dog", 1.1) + words('-- " quoted ". and')]),
    ("a cat BREAK (a dog)", [words("a cat"), words("a dog", 1.1)]),
    ("a BREAK BREAK b", [words("a"), [], words("b")]),
    ("BREAKFAST break", [words("breakfast break")]),
    ("( ) [ ] cat", [words("cat")]),
    ("", [[]]),
    ("[ ]", [[]]),
    ("a cat ! ! BREAK don't", [words("a cat ! !"), words("don 't")]),
    ("photo, " * 50, [words("photo , " * 37), words("photo , " * 13)]),
    ("word " * 80, [words("word " * 75), words("word " * 5)]),
    ("(photo, :1.2)" * 30 + "word " * 30, [words("photo , " * 30, 1.2), words("word " * 30)]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "expected"), TABLE, ids=range(len(TABLE)))
def test_token_by_token(clip, prompt, expected, monkeypatch):
    assert reached(clip, prompt, monkeypatch) == expected


def test_a_long_text_is_cut_after_a_phrase(clip, monkeypatch):
    first, second = reached(clip, "word " * 70 + ", " + "other " * 20, monkeypatch)
    assert first == words("word " * 70 + ",")
    assert second == words("other " * 20)


def test_a_textual_inversion_is_all_of_its_vectors(sd, tmp_path, monkeypatch):
    tokenizer = toy_parts.clip_tokenizer()
    parts = {"tokenizer": tokenizer, "text_encoder": toy_parts.clip(0, tokenizer)}
    pipe = StableDiffusionPipeline(**{**sd.components, **parts})
    toys.embedding(tmp_path / "e.safetensors", vectors=3)
    pipe.load_textual_inversion(str(tmp_path), weight_name="e.safetensors", token="<easy>")
    ours = encode(encoders(pipe), ["<easy>, a cat"], ["<easy>"], device=CPU)
    positive, negative = pipe.encode_prompt("<easy>, a cat", CPU, 1, True, negative_prompt="<easy>")
    assert same(ours.prompt_embeds, positive)
    assert same(ours.negative_prompt_embeds, negative)
    vectors = [(token, 1.3) for token in ("<easy>", "<easy>_1", "<easy>_2")]
    monkeypatch.setattr(toy_parts, "clip", lambda seed, tokenizer: pipe.text_encoder)
    assert reached(tokenizer, "(<easy>:1.3) BREAK a", monkeypatch)[0] == vectors


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab ()[]:,.!*\\|109BREAK<>é日\n\t", max_size=60), st.sampled_from(["<|endoftext|>", "!"]))
def test_no_prompt_breaks_it(prompt, pad):
    tokenizer = toy_parts.clip_tokenizer()
    tokenizer.pad_token = pad
    encoder = Encoder(tokenizer, toy_parts.clip(0, tokenizer), "sd")
    if syntax.problem(prompt) is None:
        found = encode([encoder], [prompt], None, device=CPU).prompt_embeds
        assert found.shape[1] % 77 == 0
        assert found.isfinite().all()
