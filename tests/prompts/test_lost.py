"""The words that a text encoder never sees, and prompts in files."""

import pytest
from transformers import CLIPTokenizer

from runner.errors import DataError
from runner.models import toy_parts
from runner.prompts.lost import lost_words, read_prompts


@pytest.fixture
def clip(shared_data):
    """CLIP's real tokenizer."""
    return CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer")


def test_what_fits_is_not_lost(clip):
    assert lost_words(clip, "") is None
    assert lost_words(clip, "a cat") is None
    assert lost_words(clip, "word " * 75) is None


@pytest.mark.parametrize(
    ("prompt", "lost"),
    [
        ("word " * 75 + "Last", "Last"),
        ("word " * 74 + "A Cat,  (In the RAIN:1.2)\n", "Cat,  (In the RAIN:1.2)"),
        ("photo, " * 37 + "photo" + " été 日本語", "été 日本語"),
        ("word " * 74 + "unbalanced thing", "unbalanced thing"),  # two tokens, of which one would fit
    ],
)
def test_the_end_is_lost_as_it_was_written(clip, prompt, lost):
    assert lost_words(clip, prompt) == lost


def test_it_is_what_diffusers_drops(clip):
    prompt = ", ".join(f"a thing number {i}" for i in range(30))
    lost = lost_words(clip, prompt)
    kept = clip(prompt, truncation=True, max_length=77)["input_ids"][1:-1]
    assert prompt.endswith(lost)
    assert (
        kept + clip(lost, add_special_tokens=False)["input_ids"] == clip(prompt, add_special_tokens=False)["input_ids"]
    )


def test_the_limit_may_be_another():
    tokenizer = toy_parts.t5_tokenizer()
    tokens = len(tokenizer("a cat").input_ids)
    assert lost_words(tokenizer, "a cat", limit=tokens) is None
    assert lost_words(tokenizer, "a cat dog", limit=tokens) == "dog"


def test_a_textual_inversion_counts_with_all_its_vectors(clip):
    clip.add_tokens(["<easy>", "<easy>_1", "<easy>_2"])
    assert lost_words(clip, "word " * 72 + "<easy>") is None
    assert lost_words(clip, "word " * 73 + "<easy>, a dog") == "<easy>, a dog"
    assert lost_words(clip, "word " * 72 + "<easy>, a <easy> dog") == ", a <easy> dog"


def test_one_prompt_a_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa cat\r\n\r\n# a comment\n  a dog, été  \r#1 in the world\n#\n\n# \nlast".encode())
    assert read_prompts(file) == ["a cat", "a dog, été", "#1 in the world", "last"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no prompt: write one on each line"),
        (b"\n# only\n\n", "holds no prompt: write one on each line"),
        (b"a\nb\xff", r"is not UTF-8: line 2, byte 3 of the file is 0xff; save it as UTF-8"),
        (b"a\nb\x00c", r"line 2 holds the control character \\x00: take it out"),
        (b"a\n" * 10_001, "holds 10,001 prompts, 10,000 at most: split it into several files"),
        (b"a" * 20_001, "line 1 has 20,001 characters: a prompt has 20,000 at most"),
        (b"a\n" * 2**19 + b"a", "is over 1 MiB, which no list of prompts needs: name a text file with one prompt a "),
    ],
)  # fmt: skip
def test_files_that_are_no_prompts(tmp_path, data, message):
    file = tmp_path / "prompts.txt"
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"prompts.txt {message}"):
        read_prompts(file)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"no.txt cannot be read \(No such file or directory\): correct the path"):
        read_prompts(tmp_path / "no.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts(tmp_path)
