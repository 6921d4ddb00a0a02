"""Contact sheets: every picture whole in its place, every label in its own, whatever the shape."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageChops

from runner.outputs.sheet import sheet
from tests.conftest import each

SAMPLERS = [
    "DPMSolverMultistep, use_karras_sigmas: true",
    "EulerDiscrete",
    "DPMSolverMultistep, algorithm type sde-dpmsolver++, use karras sigmas, solver order 3, final sigmas type zero",
    "a cat sitting on a mat, " * 40,
    "supercalifragilisticexpialidocious" * 9,
    "",
    "7.5",
    "\n\x1b[31m red \u202e",
]


def colour(i):
    red, green, blue = colorsys.hsv_to_rgb(i * 0.618 % 1, 0.5 + i % 5 / 10, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255) // 2 * 2


def plain(i, size):
    return Image.new("RGB", size, colour(i))


def places(drawn, images):
    """The box of each picture, which must be there whole: all its pixels, none under a label."""
    pixels = np.asarray(drawn).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found = []
    for image in images:
        red, green, blue = image.getpixel((0, 0))
        there = pixels == (red << 16) + (green << 8) + blue
        assert there.any(), "a picture is missing"
        across, down = np.flatnonzero(there.any(0)), np.flatnonzero(there.any(1))
        left, top, right, bottom = across[0], down[0], across[-1] + 1, down[-1] + 1
        assert there.sum() == (right - left) * (bottom - top), "something covers a picture"
        found.append(tuple(map(int, (left, top, right, bottom))))
    return found


def blank(drawn, box):
    return drawn.crop(box).getcolors(2) == [((box[2] - box[0]) * (box[3] - box[1]), (255, 255, 255))]


def labels(count):
    return (SAMPLERS * count)[:count]


SIZES = [
    *[(1, 1, (64, 64)), (2, 3, (512, 512)), (1, 15, (512, 512)), (15, 1, (512, 512)), (8, 8, (64, 64))],
    *[(8, 8, (256, 384)), (3, 2, (1024, 256)), (2, 8, (16, 16)), (2, 16, (1024, 768)), (18, 1, (480, 480))],
]


@pytest.mark.parametrize("title", [None, "A title, which is longer than one line of a narrow sheet has room for. " * 3])
@pytest.mark.parametrize("shape", each(SIZES, few=(*SIZES[:2], *SIZES[6:8])))
def test_nothing_overlaps_and_nothing_is_cut(shape, title):
    rows, columns, size = shape
    images = [plain(i, size) for i in range(rows * columns)]
    drawn = sheet(images, labels(rows), labels(columns), title=title)
    assert max(drawn.size) <= 8192
    edge = 1
    for box in ((0, 0, drawn.width, edge), (0, drawn.height - edge, drawn.width, drawn.height),
                (0, 0, edge, drawn.height), (drawn.width - edge, 0, drawn.width, drawn.height)):  # fmt: skip
        assert blank(drawn, box), "a label touches the edge"
    found = places(drawn, images)
    assert len({(right - left, bottom - top) for left, top, right, bottom in found}) == 1
    lefts, tops = [box[0] for box in found[:columns]], [box[1] for box in found[::columns]]
    assert [box[:2] for box in found] == [(left, top) for top in tops for left in lefts]
    rights, bottoms = [box[2] for box in found[:columns]], [box[3] for box in found[::columns]]
    if title is None:
        for right, left in zip(rights, lefts[1:], strict=False):  # between the labels of two columns
            middle = (right + left) // 2
            assert blank(drawn, (middle, 0, middle + 1, drawn.height))
    for bottom, top in zip(bottoms, tops[1:], strict=False):  # and of two rows
        assert blank(drawn, (0, (bottom + top) // 2, drawn.width, (bottom + top) // 2 + 1))


def test_labels_stand_left_of_rows_and_above_columns():
    images = [plain(i, (256, 256)) for i in range(4)]
    bare = sheet(images, ["", ""], ["", ""])
    drawn = sheet(images, ["EulerDiscrete", "DDIM"], ["steps 20", "steps 30"])
    (left, top, *_), (second, *_), (_, below, *_), _ = places(drawn, images)
    assert places(bare, images)[0][0] < left
    assert places(bare, images)[0][1] < top
    for box in ((0, top, left, top + 256), (0, below, left, below + 256), (left, 0, left + 256, top),
                (second, 0, second + 256, top)):  # fmt: skip
        ink = ImageChops.invert(drawn.crop(box).convert("L")).getbbox()
        assert ink is not None
        width, height = box[2] - box[0], box[3] - box[1]
        assert abs((ink[0] + ink[2]) / 2 - width / 2) <= 6  # in the middle of its place
        if box[0] == 0:
            assert abs((ink[1] + ink[3]) / 2 - height / 2) <= 6
    assert blank(drawn, (0, 0, left, top))


def test_a_title_stands_above_all():
    images = [plain(i, (256, 256)) for i in range(2)]
    without = places(sheet(images, [""], ["a", "b"]), images)
    titled = sheet(images, [""], ["a", "b"], title="a cat")
    assert all(box[1] > other[1] for box, other in zip(places(titled, images), without, strict=True))
    assert not blank(titled, (0, 0, titled.width, places(titled, images)[0][1] - without[0][1]))


def test_pictures_of_different_sizes_keep_their_proportions():
    sizes = [(512, 768), (256, 256), (1024, 512), (768, 512)]
    images = [plain(i, size) for i, size in enumerate(sizes)]
    found = places(sheet(images, ["a", "b"], ["c", "d"]), images)
    assert [(right - left, bottom - top) for left, top, right, bottom in found] == sizes
    middles = [((left + right) // 2, (top + bottom) // 2) for left, top, right, bottom in found]
    assert middles[0][0] == middles[2][0]
    assert middles[1][0] == middles[3][0]
    assert middles[0][1] == middles[1][1]
    assert middles[2][1] == middles[3][1]


@pytest.mark.parametrize(("side", "shown"), [(16, 176), (64, 192), (500, 500), (512, 512)])
def test_small_pictures_grow_by_a_whole_factor(side, shown):
    image = Image.effect_noise((side, side), 90).convert("RGB")
    marked = [image, plain(1, (side, side)), plain(2, (side, side))]
    drawn = sheet(marked, ["a"], ["b", "c", "d"])
    (left, top, right, _) = places(drawn, marked[1:])[0]
    assert right - left == shown
    gap = places(drawn, marked[1:])[1][0] - right
    first = drawn.crop((left - gap - shown, top, left - gap, top + shown))
    assert first.tobytes() == image.resize((shown, shown), Image.Resampling.NEAREST).tobytes()


@pytest.mark.parametrize("images", [[None, plain(1, (256, 128))], [None, None]])
def test_what_is_not_there_is_grey_with_a_word(images):
    drawn = sheet(images, ["a"], ["b", "c"])
    grey = sum(count for count, value in drawn.getcolors(2**20) if value == (0xEE, 0xEE, 0xEE))
    area = 256 * 128 if images[1] else 2 * 512 * 512
    assert 0.9 * area < grey < area


def test_a_picture_for_each_pair_is_wanted():
    for images, rows, columns in (([], [], []), ([plain(1, (8, 8))], ["a"], ["b", "c"])):
        with pytest.raises(ValueError, match="pictures for"):
            sheet(images, rows, columns)


def test_thousands_of_rows_fit_too():
    drawn = sheet([plain(i, (8, 8)) for i in range(6000)], [f"row {i}" for i in range(6000)], ["a"])
    assert max(drawn.size) == 8192
