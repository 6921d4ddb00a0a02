"""Textual inversion: the new rows alone learn, and their file in plain diffusers."""

import pytest
import torch
from safetensors.torch import load_file

from runner.errors import ModelError
from runner.methods import textual_inversion
from tests.methods.learning import attached, learned, pictures, plain_pictures, values


def lay(path, family):
    """Loads the vectors as diffusers documents it for one text encoder, and for two."""

    def load(pipeline):
        if len(family.TEXT_PARTS) == 1:
            pipeline.load_textual_inversion(path)
            return
        held = load_file(path)
        for key, name in (("clip_l", ""), ("clip_g", "_2")):
            pipeline.load_textual_inversion(
                {"<rose>": held[key]},
                token="<rose>",
                text_encoder=getattr(pipeline, f"text_encoder{name}"),
                tokenizer=getattr(pipeline, f"tokenizer{name}"),
            )

    return load


def test_the_file_draws_in_plain_diffusers_what_the_run_draws(folder, tmp_path):
    section = values("textual_inversion")
    family, groups = attached(folder, section)
    learned(groups)
    textual_inversion.save(family, section, tmp_path / "model")
    ours = pictures(family)[0].tobytes()
    path = tmp_path / "model" / textual_inversion.WEIGHTS
    assert plain_pictures(folder, lay(path, family))[0].tobytes() == ours
    assert plain_pictures(folder, lambda pipeline: None)[0].tobytes() != ours


def test_only_the_new_rows_learn_and_begin_as_the_initial_words(folder):
    section = values("textual_inversion", num_vectors=3)
    family, groups = attached(folder, section)
    (group,) = groups
    assert len(group.parameters) == len(family.TEXT_PARTS) and group.learning_rate == 1e-3
    for name, parameter in group.parameters.items():
        part = name.split(".")[0]
        tokenizer = family.tokenizer(part)
        table = family.parts[part].get_input_embeddings().weight
        red, flower = (tokenizer(word, add_special_tokens=False).input_ids for word in ("red", "flower"))
        begin = [*red, *flower]
        assert parameter.shape == (3, table.shape[1]) and parameter.dtype is torch.float32
        for i in range(3):
            assert torch.equal(parameter[i], table[begin[i % len(begin)]])
    learning = {id(p) for p in group.parameters.values()}
    for part in family.parts.values():
        assert all(p.requires_grad is (id(p) in learning) for p in part.parameters())


def test_without_initial_words_the_rows_begin_as_the_mean(folder):
    family, groups = attached(folder, values("textual_inversion", initializer_token="", num_vectors=1))
    parameter = groups[0].parameters["text_encoder.embeddings.token_embedding.trainable_tokens_delta.default"]
    table = family.parts["text_encoder"].get_input_embeddings().weight[:-1]
    assert torch.allclose(parameter[0], table.mean(0), atol=1e-6)


def test_a_word_that_the_model_knows_is_refused(folder):
    with pytest.raises(ModelError, match="knows the word 'flower' already"):
        attached(folder, values("textual_inversion", token="flower"))
