"""The tokenizer that is made from captions."""

import pytest

from runner.models.words import BOS, EOS, SMALLEST, clip_tokenizer

CAPTIONS = ["a red tulip under a blue sky", "A red rose by the sea", "an orange lily, at dawn", "a red tulip at dawn"]


def test_a_word_of_the_captions_is_one_token_and_others_are_spelled():
    tokenizer = clip_tokenizer(CAPTIONS, 1024, 16)
    assert tokenizer.tokenize("A red tulip at DAWN") == ["a</w>", "red</w>", "tulip</w>", "at</w>", "dawn</w>"]
    assert "".join(tokenizer.tokenize("zebra — ß")) == "zebra</w>âĢĶ</w>ÃŁ</w>"
    assert tokenizer.unk_token not in tokenizer.tokenize("zebra — ß")


def test_a_text_is_marked_filled_up_and_cut():
    tokenizer = clip_tokenizer(CAPTIONS, 1024, 6)
    short, long = tokenizer(["red", "a " * 20], padding="max_length", truncation=True).input_ids
    assert short[0] == BOS == tokenizer.bos_token_id
    assert short[2:] == [EOS] * 4 == [tokenizer.pad_token_id] * 4
    assert len(long) == 6
    assert long[-1] == EOS == tokenizer.eos_token_id


def test_the_vocabulary_has_a_limit():
    frequent = clip_tokenizer(CAPTIONS, SMALLEST + 2, 16)
    assert len(frequent) == SMALLEST + 2
    assert frequent.decode(frequent("a red lily").input_ids, skip_special_tokens=True) == "a red lily"
    assert len(clip_tokenizer([], SMALLEST, 16)) == SMALLEST


def test_the_order_of_the_captions_does_not_matter():
    one, other = (clip_tokenizer(texts, 600, 16) for texts in (CAPTIONS, CAPTIONS[::-1]))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


@pytest.mark.parametrize("text", ["a red tulip under a blue sky", "ünder 7 skies"])
def test_it_is_saved_and_read_as_any_tokenizer(tmp_path, text):
    from transformers import AutoTokenizer

    tokenizer = clip_tokenizer(CAPTIONS, 1024, 16)
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read(text).input_ids == tokenizer(text).input_ids
    assert read.model_max_length == 16
