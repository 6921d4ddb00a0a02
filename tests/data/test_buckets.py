import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runner.data.buckets import bucket_sizes, nearest
from runner.data.transforms import MAX_ASPECT, augment, covering, fit
from runner.errors import DataError


def test_sizes_at_512():
    wide = [(320, 640), (384, 640), (448, 576)]
    assert bucket_sizes(512, step=64, max_aspect=2.0) == [*wide, (512, 512), (576, 448), (640, 384), (640, 320)]


def test_sdxl_sizes_are_among_those_at_1024():
    ours = bucket_sizes(1024, step=64, max_aspect=4.0)
    for size in ((1024, 1024), (896, 1152), (832, 1216), (768, 1344), (512, 2048)):  # Podell et al. 2023, appendix I
        assert size in ours
        assert size[::-1] in ours


@given(st.integers(8, 2048), st.integers(1, 256), st.floats(1, 8, allow_nan=False))
def test_every_size_keeps_the_rules(resolution, step, max_aspect):
    if step > resolution:
        with pytest.raises(DataError, match=r"make the step smaller or the resolution larger"):
            bucket_sizes(resolution, step=step, max_aspect=max_aspect)
        return
    sizes = bucket_sizes(resolution, step=step, max_aspect=max_aspect)
    square = resolution // step * step
    assert (square, square) in sizes
    assert sorted(sizes) == sorted((width, height) for height, width in sizes)
    for height, width in sizes:
        assert height % step == width % step == 0
        assert 0.75 * square**2 <= height * width <= resolution**2
        assert max(height, width) <= max_aspect * min(height, width)
    aspects = [width / height for height, width in sizes]
    assert aspects == sorted(set(aspects), reverse=True)


def test_nearest_by_the_logarithm_of_the_aspect():
    sizes = [(320, 640), (512, 512), (640, 320)]
    assert nearest(sizes, 1414, 1000) == (512, 512)  # the border is the square root of 2, not 1.5
    assert nearest(sizes, 1415, 1000) == (320, 640)
    assert nearest(sizes, 1000, 1415) == (640, 320)
    assert nearest(sizes, 8000, 1000) == (320, 640)


def disc(width: int, height: int) -> Image.Image:
    """A white disc in the middle, half as wide as the shorter side."""
    y, x = np.indices((height, width), dtype=float)
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < min(width, height) / 4
    return Image.fromarray(np.repeat((inside * 255).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("center_crop", [True, False])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (400, 400), (1000, 200), (150, 1150), (901, 333)])
def test_no_picture_is_squeezed(size, center_crop):
    height, width = nearest(bucket_sizes(256, step=32, max_aspect=2.0), *size)
    array = fit(disc(*size), height=height, width=width, interpolation="lanczos", center_crop=center_crop)
    assert array.shape[:2] == ((height, width) if center_crop else covering(size[::-1], height, width))
    inside = array[..., 0] > 127
    across, down = inside.any(axis=0).sum(), inside.any(axis=1).sum()
    assert abs(int(across) - int(down)) <= 2  # a squeeze to the next size would be over ten


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 512), st.integers(1, 512))
def test_covering_covers_and_no_more(high, wide, height, width):
    if max(high, wide) > MAX_ASPECT * min(high, wide):
        return
    scaled = covering((high, wide), height, width)
    assert scaled[0] >= height
    assert scaled[1] >= width
    assert scaled[0] == height or scaled[1] == width


def test_a_random_crop_of_a_bucket_has_its_size_and_tells_its_place():
    array = np.random.default_rng(0).integers(0, 256, (24, 60, 3), np.uint8)
    places = set()
    for seed in range(200):
        pixels, top, left, flipped = augment(
            array,
            np.random.default_rng(seed),
            height=24,
            width=40,
            center_crop=False,
            random_flip=True,
            color_jitter=None,
        )
        crop = array[top : top + 24, left : left + 40]
        assert np.array_equal(pixels, crop[:, ::-1] if flipped else crop)
        places.add((top, left))
    assert places == {(0, left) for left in range(21)}
