"""The built-in flowers: always the same, all different, and each what its caption says."""

import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from runner.data import builtin
from runner.data.backdrops import LIGHT
from runner.data.builtin import COLOURS, KINDS, Builtin, Scene, draw, scene
from runner.data.scene import PLACES, Dice

HUES = {"red": 354, "orange": 25, "yellow": 43, "pink": 332, "purple": 272, "blue": 223}  # degrees


def source(num_images: int = 12, resolution: int = 16, label_by: str = "kind") -> Builtin:
    return Builtin(kinds=None, num_images=num_images, resolution=resolution, label_by=label_by)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float64)


def petals(shown: Scene, resolution: int = 64) -> np.ndarray:
    """The HSV values, each in [0, 1], of a ring around the flower's middle in which every kind has petals."""
    across = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    x, y = np.meshgrid(across, -across)
    away = np.hypot(x - shown.x, (y - shown.y) / shown.squash) / shown.radius
    return np.asarray(draw(shown, resolution).convert("HSV"), np.float64)[(away > 0.5) & (away < 0.65)] / 255


def mean_hue(hsv: np.ndarray) -> float:
    """The circular mean of the hues in degrees, colourful pixels counting more."""
    hue, saturation, value = hsv.T
    return float(np.degrees(np.angle((saturation * value * np.exp(2j * np.pi * hue)).sum())) % 360)


def turned(a: float, b: float) -> float:
    """How far apart two hues lie on the circle, in degrees."""
    return abs((a - b + 180) % 360 - 180)


def test_the_same_index_gives_the_same_bytes_in_any_order_and_whatever_the_global_state() -> None:
    first = [draw(scene(index), 24).tobytes() for index in range(6)]
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    again = [draw(scene(index), 24).tobytes() for index in reversed(range(6))]
    assert again[::-1] == first
    assert np.array_equal(np.random.get_state()[1], state)


def test_different_indices_give_different_pictures() -> None:
    assert len({draw(scene(index), 16).tobytes() for index in range(40)}) == 40


def test_scenes_stay_what_they_are_from_release_to_release() -> None:
    """Who changes these counts `DRAWING_VERSION` up: caches and runs depend on it."""
    assert builtin.DRAWING_VERSION == 1
    assert [scene(index).caption for index in (0, 1, 2, 1_000_000)] == [
        "an orange lily at dawn",
        "a white rose by the sea",
        "a red lily by the sea",
        "a red sunflower at dawn",
    ]


@pytest.mark.parametrize("index", [*range(12)])
def test_every_resolution_shows_the_same_scene(index: int) -> None:
    small = pixels(draw(scene(index), 32))
    large = pixels(draw(scene(index), 128).resize((32, 32), Image.Resampling.BOX))
    other = pixels(draw(scene(index + 100), 32))
    assert np.abs(small - large).mean() < 4
    assert np.abs(small - other).mean() > 16


@pytest.mark.parametrize("resolution", [8, 9, 31, 32, 100, 520])
def test_pictures_are_square_rgb_of_the_resolution_asked_for(resolution: int) -> None:
    picture = draw(scene(3), resolution)
    assert (picture.mode, picture.size) == ("RGB", (resolution, resolution))
    assert pixels(picture).std() > 20


def test_every_kind_comes_in_many_colours_and_places() -> None:
    scenes = [scene(index) for index in range(500)]
    pairs = Counter((each.kind, each.colour) for each in scenes)
    assert {kind for kind, _ in pairs} == set(KINDS)
    for kind in KINDS:
        colours = {colour for colour in COLOURS if pairs[kind, colour]}
        assert len(colours) >= (3 if kind == "sunflower" else 6), (kind, colours)
        assert {each.background for each in scenes if each.kind == kind} == set(PLACES)
    assert {"tulip", "rose", "daisy", "poppy"} <= {kind for kind in KINDS if all(pairs[kind, c] for c in COLOURS)}
    assert max(Counter(each.kind for each in scenes).values()) < 500 / len(KINDS) * 1.5


def test_scenes_vary_in_everything_that_is_drawn() -> None:
    scenes = [scene(index) for index in range(200)]
    for name in ("x", "y", "radius", "turn", "squash", "bend"):
        assert len({getattr(each, name) for each in scenes}) == 200, name
    for name in ("leaves", "light", "depth"):
        assert len({getattr(each, name) for each in scenes}) > 1, name
    for kind in set(KINDS) - {"lily"}:  # lilies have six
        assert len({each.petals for each in scenes if each.kind == kind}) > 2, kind


def test_petals_have_the_colour_of_their_word() -> None:
    for index in range(100):
        shown = scene(index)
        hsv = petals(shown)
        saturation, value = np.median(hsv[:, 1]), np.median(hsv[:, 2])
        if shown.colour == "white":
            assert saturation < 0.25, shown.caption
            assert value > 0.65, shown.caption
        else:
            assert saturation > 0.45, shown.caption
            hue = mean_hue(hsv)
            assert min(HUES, key=lambda word: turned(HUES[word], hue)) == shown.colour, shown.caption


def test_the_flower_stands_out_from_its_background() -> None:
    for index in range(60):
        shown = scene(index)
        picture = pixels(draw(shown, 64)) / 255
        corner = picture[:8, :8].mean(axis=(0, 1))
        y, x = int((1 - shown.y) * 32), int((1 + shown.x) * 32)
        face = picture[y - 16 : y + 16, x - 16 : x + 16].mean(axis=(0, 1))
        assert np.linalg.norm(face - corner) > 0.12, shown.caption


def test_captions_are_grammatical() -> None:
    captions = {scene(index).caption for index in range(400)}
    form = re.compile(rf"(a|an) ({'|'.join(COLOURS)}) ({'|'.join(KINDS)}) ({'|'.join(PLACES)})")
    for caption in captions:
        match = form.fullmatch(caption)
        assert match, caption
        assert (match[1] == "an") == (match[2] == "orange"), caption
    assert any(caption.startswith("an orange ") for caption in captions)


def test_tints_are_of_places_there_are() -> None:
    assert set(LIGHT) < set(PLACES)


@pytest.mark.parametrize(("label_by", "classes"), [("kind", KINDS), ("colour", COLOURS)])
def test_labels_say_kind_or_colour(label_by: str, classes: tuple[str, ...]) -> None:
    flowers = source(60, label_by=label_by)
    assert flowers.classes == list(classes)
    for item in flowers.items:
        assert item.label is not None
        assert item.caption is not None
        assert classes[item.label] in item.caption.split()


def test_the_source_lists_its_pictures_in_order() -> None:
    flowers = source(5, resolution=16)
    assert flowers.count == len(flowers.items) == 5
    assert [item.name for item in flowers.items] == [f"flower {index}" for index in range(5)]
    assert flowers.items[-1] == flowers.items[4] == flowers.items[3:][1]
    entries = list(flowers)
    assert [entry.item.caption for entry in entries] == [scene(index).caption for index in range(5)]
    assert entries[2].load().tobytes() == flowers.picture(2).tobytes() == draw(scene(2), 16).tobytes()
    with pytest.raises(IndexError):
        flowers.items[5]


def test_millions_of_pictures_open_at_once() -> None:
    flowers = source(10_000_000)
    assert flowers.count == 10_000_000
    assert flowers.items[9_999_999].name == "flower 9999999"


def test_the_fingerprint_holds_all_that_decides_pixels_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    one = source().fingerprint
    assert source().fingerprint == one
    assert re.fullmatch(r"[0-9a-f]{64}", one)
    others = [source(13), source(resolution=17), source(label_by="colour")]
    monkeypatch.setattr(builtin, "DRAWING_VERSION", builtin.DRAWING_VERSION + 1)
    others.append(source())
    assert len({one, *(other.fingerprint for other in others)}) == 5


def test_dice_are_fair_and_their_streams_apart() -> None:
    throws = [Dice(1, index).whole(1, 6) for index in range(3000)]
    assert set(throws) == {1, 2, 3, 4, 5, 6}
    assert max(Counter(throws).values()) < 600
    assert Dice(1, 7).between(0, 1) == Dice(1, 7).between(0, 1) != Dice(2, 7).between(0, 1)


def test_only_some_kinds():
    some = Builtin(kinds=["sunflower", "lily"], num_images=20, resolution=16, label_by="kind")
    assert some.count == 20
    assert {some.classes[item.label] for item in some.items} == {"sunflower", "lily"}
    one = next(i for i in range(100) if scene(i).kind in ("sunflower", "lily"))
    assert some.items[0].name == f"flower {one}"
    assert some.picture(0).tobytes() == draw(scene(one), 16).tobytes()
    every = Builtin(kinds=None, num_images=20, resolution=16, label_by="kind")
    assert some.fingerprint != every.fingerprint
