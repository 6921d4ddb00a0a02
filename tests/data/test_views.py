"""Looks at pictures that were really prepared."""

import numpy as np
import pytest
from PIL import Image

from runner.data.cache import prepare
from runner.data.draws import AUGMENT, rng
from runner.data.source import open_source
from runner.data.views import Views
from runner.processes.world import World

SHAPES = [(40, 40), (90, 30), (31, 77), (64, 50)]


@pytest.fixture(params=[False, True])
def pictures(request, tmp_path, section, progress):
    """Pictures of several aspect ratios, with and without buckets, larger than their crops where these are random."""
    for i, (width, height) in enumerate(SHAPES):
        noise = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{i}.png")
    data = section(id=str(tmp_path / "pictures"), metadata_file=None, random_flip=True)
    if request.param:
        data["aspect_ratio_buckets"] = {"step": 8, "max_aspect": 2.0}

    def made(center_crop):
        data["center_crop"] = center_crop
        source = open_source(data, offline=True)
        return prepare(source, section=data, cache_dir=tmp_path / "cache", progress=progress, world=World()), data

    return made


def test_a_plain_look_is_the_middle_where_the_crops_say(pictures):
    loose, data = pictures(False)
    views = Views(loose, data)
    for i in range(len(loose)):
        view, (top, left), (height, width) = views.plain(i), loose.crops[i], loose.sizes[i]
        assert np.array_equal(view.pixels, loose[i][top : top + height, left : left + width])
        assert view.sizes == (*loose.original_sizes[i][::-1], top, left, height, width)
    tight, data = pictures(True)
    for i in range(len(tight)):
        view = Views(tight, data).plain(i)
        assert np.array_equal(view.pixels, tight[i])
        assert view.sizes[2:4] == tuple(tight.crops[i])


@pytest.mark.parametrize("center_crop", [False, True])
def test_a_drawn_look_is_where_its_sizes_say(pictures, center_crop):
    prepared, data = pictures(center_crop)
    views = Views(prepared, data)
    places = set()
    for number in range(80):
        i = number % len(prepared)
        view = views.drawn(i, rng(1, AUGMENT, number))
        top, left, height, width = view.sizes[2:]
        whole = prepared[i][:, ::-1] if view.flipped else prepared[i]
        cut = whole if center_crop else whole[top : top + height, left : left + width]
        assert np.array_equal(view.pixels, cut)
        assert view.pixels.shape == (*prepared.sizes[i], 3)
        places.add((i, top, left, view.flipped))
    assert len(places) == 2 * len(prepared) if center_crop else len(places) > 20
    assert views.cut_at_random() is not center_crop


def test_colours_do_not_move_the_crop(pictures):
    prepared, data = pictures(False)
    views = Views(
        prepared, {**data, "color_jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}}
    )
    for number in range(20):
        coloured, plain = (views.drawn(1, rng(1, AUGMENT, number), colours=colours) for colours in (True, False))
        assert (coloured.sizes, coloured.flipped) == (plain.sizes, plain.flipped)
        assert not np.array_equal(coloured.pixels, plain.pixels)
