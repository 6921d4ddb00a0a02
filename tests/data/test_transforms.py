import numpy as np
import pytest
from PIL import Image

from runner.data.decode import BadPicture
from runner.data.transforms import MAX_ASPECT, augment, fit

PLAIN = {"height": 16, "width": 16, "center_crop": True, "random_flip": False, "color_jitter": None}
NO_JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def slope(width: int, height: int) -> Image.Image:
    """Red is each pixel's x, green its y."""
    y, x = np.indices((height, width))
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["lanczos", "bicubic"])
@pytest.mark.parametrize("size", [(90, 30), (30, 90), (31, 30), (16, 16), (8, 20), (200, 120)])
def test_center_crop_takes_the_middle_square(size, interpolation):
    array = fit(slope(*size), height=16, width=16, interpolation=interpolation, center_crop=True)
    assert array.shape == (16, 16, 3)
    assert array.dtype == np.uint8
    short = min(size)
    for channel, side in enumerate(size):
        start, values = (side - short) // 2, array[..., channel].astype(float)
        assert abs(values.mean() - (start + (short - 1) / 2)) < 0.6
        assert abs(values.min() - start - short / 32 + 0.5) < 1.5
        assert abs(values.max() - start - short + short / 32 + 0.5) < 1.5


@pytest.mark.parametrize(("size", "shape"), [((90, 30), (16, 48)), ((30, 90), (48, 16)), ((20, 31), (25, 16))])
def test_without_center_crop_the_whole_picture_stays(size, shape):
    array = fit(slope(*size), height=16, width=16, interpolation="lanczos", center_crop=False)
    assert array.shape == (*shape, 3)


def test_a_picture_of_the_right_size_is_not_resampled():
    noise = Image.effect_noise((16, 16), 80).convert("RGB")
    for center_crop in (True, False):
        array = fit(noise, height=16, width=16, interpolation="lanczos", center_crop=center_crop)
        assert np.array_equal(array, np.asarray(noise))


def test_scaling_down_is_antialiased():
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    board = Image.fromarray(checks.astype(np.uint8)).convert("RGB")
    for interpolation in ("lanczos", "bicubic"):
        array = fit(board, height=16, width=16, interpolation=interpolation, center_crop=True)
        assert abs(array.astype(int) - 127).max() <= 2  # picking single pixels would give black or white


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (8 * MAX_ASPECT + 1, 8)])
@pytest.mark.parametrize("center_crop", [True, False])
def test_too_thin_is_a_reason(size, center_crop):
    with pytest.raises(BadPicture, match="too thin"):
        fit(Image.new("RGB", size), height=16, width=16, interpolation="lanczos", center_crop=center_crop)


def test_one_pixel_is_enough():
    array = fit(Image.new("RGB", (1, 1), (1, 2, 3)), height=16, width=16, interpolation="lanczos", center_crop=True)
    assert (array == (1, 2, 3)).all()


def pixels_of(array: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    return augment(array, rng, **settings)[0]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_nothing_random_changes_nothing():
    array = noise(16, 16)
    assert np.array_equal(pixels_of(array, np.random.default_rng(1), **PLAIN), array)


def test_random_crops_reach_every_place_and_stay_inside():
    array = noise(16, 19)
    seen = set()
    for seed in range(60):
        crop, top, left, flipped = augment(array, np.random.default_rng(seed), **PLAIN | {"center_crop": False})
        assert np.array_equal(crop, array[:, left : left + 16])
        assert (top, flipped, crop.shape) == (0, False, (16, 16, 3))
        seen.add(left)
    assert seen == {0, 1, 2, 3}


def test_half_of_the_samples_are_mirrored_and_say_so():
    array = noise(16, 16)
    told = []
    for seed in range(400):
        pixels, _, _, flipped = augment(array, np.random.default_rng(seed), **PLAIN | {"random_flip": True})
        assert np.array_equal(pixels, array[:, ::-1] if flipped else array)
        told.append(flipped)
    assert 150 < sum(told) < 250


def test_the_same_generator_gives_the_same_sample():
    settings = PLAIN | {"center_crop": False, "random_flip": True}
    settings["color_jitter"] = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}
    a, b = (pixels_of(noise(16, 40), np.random.default_rng(7), **settings) for _ in range(2))
    assert np.array_equal(a, b)


def test_jitter_of_width_zero_keeps_every_pixel():
    array = noise(16, 16)
    assert np.array_equal(pixels_of(array, np.random.default_rng(1), **PLAIN | {"color_jitter": NO_JITTER}), array)


def test_brightness_lies_in_its_range():
    array = np.full((16, 16, 3), 100, np.uint8)
    jitter = NO_JITTER | {"brightness": 0.2}
    levels = [
        int(pixels_of(array, np.random.default_rng(seed), **PLAIN | {"color_jitter": jitter})[0, 0, 0])
        for seed in range(200)
    ]
    assert 79 <= min(levels) < 85
    assert 115 < max(levels) <= 120


def test_hue_turns_the_colour_and_keeps_grey():
    jitter = NO_JITTER | {"hue": 0.5}
    red, grey = (np.full((16, 16, 3), colour, np.uint8) for colour in ((255, 0, 0), (90, 90, 90)))
    turned = pixels_of(red, np.random.default_rng(3), **PLAIN | {"color_jitter": jitter})
    assert turned.max() == 255
    assert turned[0, 0].tolist() != [255, 0, 0]
    assert (pixels_of(grey, np.random.default_rng(3), **PLAIN | {"color_jitter": jitter}) == 90).all()


def test_full_desaturation_is_possible_and_contrast_keeps_the_mean():
    array = noise(16, 16)
    contrast = pixels_of(array, np.random.default_rng(5), **PLAIN | {"color_jitter": NO_JITTER | {"contrast": 0.5}})
    assert abs(float(contrast.mean()) - float(array.mean())) < 6
    saturation = pixels_of(array, np.random.default_rng(5), **PLAIN | {"color_jitter": NO_JITTER | {"saturation": 1.0}})
    assert not np.array_equal(saturation, array)
