"""What the captioning tests share: two tiny image-to-text models of the real classes, and pictures that differ."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from runner.captioning import Around, caption, inspect
from runner.captioning.toy import toy
from runner.data.source import open_source
from runner.models.files import open_files
from runner.models.words import clip_tokenizer
from runner.processes.world import World
from runner.signals import Stop
from tests.conftest import defaults

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


def around(place, folder, progress, stop, world=None):
    """What captioning works with: a cache at a place, a run's folder."""
    world = world or World()
    world.stop = stop
    return Around(**CPU, cache_dir=place / "cache", folder=folder, progress=progress, world=world)


TEMPLATE = (
    "{% for message in messages %}{{ message.role }} : {% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


class Remembers:
    """A display that keeps what it was told."""

    def __init__(self):
        self.lines, self.warnings, self.bars = [], [], []

    def say(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def bar(self, title, total, *, unit, start=0):
        class Bar:
            done = start

            def advance(self, n=1, **facts):
                self.done += n

        bar = Bar()
        yield bar
        self.bars.append((title, total, bar.done))


@pytest.fixture(scope="session")
def blip(tmp_path_factory):
    """A tiny BLIP, saved."""
    folder = tmp_path_factory.mktemp("blip")
    toy(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """A tiny LLaVA, which is talked to, saved."""
    folder = tmp_path_factory.mktemp("llava")
    words = clip_tokenizer(["describe this picture in one sentence. a red flower, user assistant"], 600, 512)
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=16),
        text_config=transformers.LlamaConfig(
            **size, **marks, vocab_size=len(words), num_key_value_heads=2, initializer_range=0.5
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    transformers.LlavaProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def git(blip, tmp_path_factory):
    """A tiny GIT, whose decoder reads picture and words alike, saved."""
    folder = tmp_path_factory.mktemp("git")
    words = transformers.BertTokenizer.from_pretrained(blip)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {"bos_token_id": words.cls_token_id, "eos_token_id": words.sep_token_id, "pad_token_id": words.pad_token_id}
    vision = {**size, "image_size": 32, "patch_size": 8}
    config = transformers.GitConfig(
        vision_config=vision, **size, **marks, vocab_size=len(words), max_position_embeddings=64, initializer_range=0.5
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.GitForCausalLM(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.GitProcessor(images, words).save_pretrained(folder)
    return folder


def noise(seed, size=(24, 20)):
    """A picture like no other."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def data(tmp_path):
    """A folder of five pictures; the second, b.png, has a caption."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, name in enumerate("abcde"):
        noise(seed).save(folder / f"{name}.png")
    (folder / "b.txt").write_text("my own words")
    return folder


def files_of(folder):
    """The files of a saved model."""
    return open_files(str(folder), base=folder, key="data.caption.id")


def source_of(folder, metadata_file=None):
    """A folder of pictures as a source."""
    section = {**defaults("data/folder.json", id=str(folder)), "type": "folder", "metadata_file": metadata_file}
    return open_source(section, offline=True)


@pytest.fixture
def captions(data, tmp_path, blip):
    """Captions the folder; returns name -> caption, with what was shown as an attribute of the function."""

    def write(model=blip, *, stop=None, on_error="stop", max_images=None, folder="run", **asked):
        asked = {"prompt": None, "overwrite": False, "batch_size": 2, "max_new_tokens": 8, **asked}
        section = {"background": "#ffffff", "on_error": on_error, "max_images": max_images, "caption": asked}
        write.progress = Remembers()
        (tmp_path / folder).mkdir(exist_ok=True)
        write.source = caption(
            source_of(data),
            inspect(files_of(model), allow_pickle=False),
            section,
            around(tmp_path, tmp_path / folder, write.progress, stop or Stop("run again")),
        )
        return {entry.item.name: entry.item.caption for entry in write.source}

    return write
