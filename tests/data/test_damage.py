"""Caches that are too large to be checked when they are opened: every byte is checked before it is used."""

import numpy as np
import pytest

from runner.data import store, tensors
from runner.data.source import Item, Place
from runner.data.store import Store, Writer
from runner.data.tensors import TensorStore, TensorWriter
from runner.errors import EnvironmentFault
from tests.data.test_tensors import rows
from tests.tiny import lay, recipe, record, stopped_at

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


@pytest.fixture(autouse=True)
def large(monkeypatch):
    for module in (store, tensors):
        monkeypatch.setattr(module, "_SMALL", 0)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    with Writer(tmp_path) as writer:
        for number, pixels in enumerate(PICTURES):
            writer.add(Place(0, number), Item(f"{number}.png", None, None), pixels, (6, 4))
        return writer.keep("key", [])


def test_pictures_that_come_in_any_order_lie_in_that_of_their_places(tmp_path):
    places = [Place(1, 0), Place(0, 7), Place(1, 3), Place(0, 2), Place(0, 9)]
    with Writer(tmp_path) as writer:
        for number, (place, pixels) in enumerate(zip(places, PICTURES, strict=True)):
            writer.add(place, Item(f"{number}.png", f"caption {number}", None), pixels, (6, 4))
        for row in (8, 1):
            writer.skip(Place(0, row), Item(f"broken {row}", None, None), "is broken")
        opened = Store.open(writer.keep("key", []))
    order = [3, 1, 4, 0, 2]
    assert [opened.text(i) for i in range(5)] == [(f"{i}.png", f"caption {i}") for i in order]
    assert all((opened.pixels(i) == PICTURES[number]).all() for i, number in enumerate(order))
    assert opened.skipped == [("broken 1", "is broken"), ("broken 8", "is broken")]
    assert opened.found == 7


@pytest.mark.parametrize("place", [0, 71])
def test_a_changed_picture_is_refused_when_it_is_read_and_the_others_are_not(folder, place):
    flip(folder / "pixels.u8", 72 * 2 + place)
    opened = Store.open(folder)
    for number in (0, 1, 3, 4):
        assert (opened.pixels(number) == PICTURES[number]).all()
    for _ in range(2):
        with pytest.raises(EnvironmentFault) as caught:
            opened.pixels(2)
    assert str(caught.value) == (
        f"the cache in {folder} is damaged (2.png changed on the disk): it is put out of the way, "
        "and the same command makes it anew"
    )
    assert [path.name[:13] for path in folder.parent.iterdir()] == [".tmp-damaged-"]


@pytest.mark.parametrize("file", ["index.i64", "texts.jsonl"])
def test_what_tells_of_the_pictures_is_checked_at_once(folder, file):
    flip(folder / file, 3)
    assert Store.open(folder) is None


def test_a_changed_shard_is_refused_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_SHARD", 1)
    with TensorWriter(tmp_path, 6) as writer:
        for number in range(6):
            writer.add([number], rows([number]))
        writer.keep("key")
    flip(tmp_path / "key" / "000003.safetensors", -1)
    opened = TensorStore.open(tmp_path / "key")
    assert (opened[2]["a"] == rows([2])["a"][0]).all()
    with pytest.raises(EnvironmentFault, match=r"is damaged \(000003\.safetensors changed on the disk\)"):
        opened[3]
    assert TensorStore.open(tmp_path / "key") is None


def test_a_run_ends_with_a_sentence_and_the_same_command_goes_on(here, capsys):
    lay(here)
    stopped_at(3)
    (pixels,) = here.glob("**/pictures/*/pixels.u8")
    for place in range(0, pixels.stat().st_size, 8):
        flip(pixels, place)
    capsys.readouterr()
    assert recipe() == 5
    assert "changed on the disk): it is put out of the way" in capsys.readouterr().err
    assert recipe() == 0
    assert "going on from step 3" in capsys.readouterr().err
    assert record(here)["exit_code"] == 0
