"""Adapters against a plain loop from peft's and diffusers' parts."""

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file

from tests.conftest import each
from tests.training.finetune import CACHES, Samples, assert_equal_work, recipe, run
from tests.training.plain import Plain

TARGETS = {"unet": ["to_k", "to_q", "to_v", "to_out.0"]}
OF_TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]


def add_lora(pipeline, parts, *, seed, rank, alpha):
    """Adds matrices to parts of a pipeline, as diffusers' LoRA scripts do; returns their parameters."""
    torch.manual_seed(seed)
    for name in parts:
        targets = TARGETS.get(name, OF_TEXT)
        config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=targets)
        getattr(pipeline, name).add_adapter(config)
    return [p for name in parts for p in getattr(pipeline, name).parameters() if p.requires_grad]


def published(pipeline, parts, folder):
    """The tensors of a LoRA as diffusers saves it."""
    layers = {f"{name}_lora_layers": get_peft_model_state_dict(getattr(pipeline, name)) for name in parts}
    type(pipeline).save_lora_weights(folder, **layers)
    return lora(folder)


def lora(folder):
    """The tensors of a LoRA by the name of the layer; transformers 5 has no `text_model` in its encoders any more."""
    held = load_file(folder / "pytorch_lora_weights.safetensors")
    return {key.replace("text_model.", ""): tensor for key, tensor in held.items()}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        pytest.param("stable_diffusion", ["unet"], marks=pytest.mark.slow),
        pytest.param("stable_diffusion", ["unet", "text_encoder"], marks=pytest.mark.slow),
        pytest.param("stable_diffusion_xl", ["unet"], marks=pytest.mark.slow),
        ("stable_diffusion_xl", ["unet", "text_encoder", "text_encoder_2"]),
    ],
)
def test_a_lora_learns_as_in_a_plain_loop(here, toy, name, parts):
    folder = toy(name)
    adapter = {"type": "lora", "rank": 4, "alpha": 8, "parts": parts}
    done = [run(recipe(folder, training=caches, adapter=adapter), "--fresh") for caches in CACHES]
    plain = Plain(folder, Samples(done[0]))
    matrices = add_lora(plain.pipeline, parts, seed=3, rank=4, alpha=8)
    before = published(plain.pipeline, parts, here / "before")
    plain.train((matrices, 1e-3))
    after = published(plain.pipeline, parts, here / "after")
    for made in done:
        assert_equal_work(made, plain, lora(made / "model"), after, before, later=2e-6)


class WithWord(Plain):
    """A plain loop in which a new word's rows of the embeddings learn, as diffusers' textual_inversion has it."""

    def learn_word(self, token, vectors, initial):
        """Adds the word to every text encoder; returns the tables of embeddings, which learn."""
        self.words, self.rows = [token, *(f"{token}_{i}" for i in range(1, vectors))], {}
        for name in self.encoders:
            tokenizer = getattr(self.pipeline, name.replace("text_encoder", "tokenizer"))
            encoder = getattr(self.pipeline, name)
            first = tokenizer.encode(initial, add_special_tokens=False)
            assert tokenizer.add_tokens(self.words) == vectors
            rows = tokenizer.convert_tokens_to_ids(self.words)
            encoder.resize_token_embeddings(len(tokenizer))
            table = encoder.get_input_embeddings().weight
            with torch.no_grad():
                for i, row in enumerate(rows):
                    table[row] = table[first[i % len(first)]]
            self.rows[name] = rows
        self.tables = {name: getattr(self.pipeline, name).get_input_embeddings().weight for name in self.encoders}
        self.own = {name: table.detach().clone() for name, table in self.tables.items()}
        self.after_step = self._restore_other_rows
        return [table.requires_grad_(True) for table in self.tables.values()]

    @torch.no_grad()
    def _restore_other_rows(self):
        for name, table in self.tables.items():
            others = torch.ones(len(table), dtype=torch.bool)
            others[self.rows[name]] = False
            table[others] = self.own[name][others]

    def written(self, captions):
        return [caption.replace(self.words[0], " ".join(self.words)) for caption in captions]

    def vectors(self, tables):
        return {name: tables[name][self.rows[name]].detach().clone() for name in self.encoders}


@pytest.mark.parametrize("name", each(("stable_diffusion", "stable_diffusion_xl"), few=("stable_diffusion",)))
def test_a_word_learns_as_in_a_plain_loop(here, toy, name):
    folder = toy(name)
    adapter = {"type": "textual_inversion", "token": "<rose>", "num_vectors": 2, "initializer_token": "red"}
    training = {"max_grad_norm": None, "scale_lr": True, "gradient_accumulation_steps": 2, "learning_rate": 5e-4}
    done = [
        run(recipe(folder, training={**training, **caches}, adapter=adapter), "--fresh")
        for caches in ({}, {"cache_latents": False})
    ]
    plain = WithWord(folder, Samples(done[0]))
    plain.train((plain.learn_word("<rose>", 2, "red"), 5e-4 * 2 * 2))
    before, after = plain.vectors(plain.own), plain.vectors(plain.tables)
    for made in done:
        held = load_file(made / "model" / "learned_embeds.safetensors")
        keys = ["<rose>"] if len(plain.encoders) == 1 else ["clip_l", "clip_g"]
        assert held.keys() == set(keys)
        ours = {name: held[key] for name, key in zip(plain.encoders, keys)}
        assert_equal_work(made, plain, ours, after, before, later=2e-6)
