"""A tiny BLIP with random weights: it stands in for an image-to-text model in rehearsals, and says nonsense."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from runner.models.quiet import quiet

_MARKS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[DEC]"]
_WORDS = ["a", "the", "red", "green", "blue", "white", "small", "large", "flower", "leaf", "circle", "square"]
_WORDS += ["photo", "of", "in", "on", "with", "and"]
_SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def toy(folder: Path, seed: int = 0) -> None:
    """Saves it: pictures of 32 pixels a side, 18 words. The same seed makes the same files."""
    quiet()
    vocab = {word: i for i, word in enumerate([*_MARKS, *_WORDS])}
    marks = {"bos_token_id": vocab["[DEC]"], "eos_token_id": vocab["[SEP]"], "sep_token_id": vocab["[SEP]"]}
    text = {"vocab_size": len(vocab), "encoder_hidden_size": 16, "max_position_embeddings": 128, "pad_token_id": 0}
    config = transformers.BlipConfig(
        text_config={**_SIZE, **marks, **text, "projection_dim": 16, "initializer_range": 0.5},
        vision_config={**_SIZE, "image_size": 32, "patch_size": 8, "projection_dim": 16, "initializer_range": 0.5},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    words = transformers.BertTokenizer(vocab=vocab, bos_token="[DEC]")
    transformers.BlipProcessor(images, words).save_pretrained(folder)
