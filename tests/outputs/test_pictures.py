"""Grids, strips and GIFs, to the pixel."""

import colorsys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from runner.errors import EnvironmentFault
from runner.outputs import pictures


def _plain(count: int, size: tuple[int, int]) -> list[Image.Image]:
    return [Image.new("RGB", size, _colour(i)) for i in range(count)]


def _colour(i: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(i * 0.13 % 1, 0.9, 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def test_every_pixel_of_a_grid_is_where_it_belongs() -> None:
    image = Image.new("RGB", (32, 24))
    image.putdata([(x * 8, y * 10, (x * y) % 256) for y in range(24) for x in range(32)])
    sheet = pictures.grid([image] * 5, columns=3, gap=2, background="white")
    factor = 6  # 3 columns of 32 pixels and 2 gaps: 5 times is 484, 6 times 580
    width, height = 32 * factor, 24 * factor
    assert sheet.size == (3 * width + 4, 2 * height + 2)
    for i in range(5):
        left, top = i % 3 * (width + 2), i // 3 * (height + 2)
        cell = sheet.crop((left, top, left + width, top + height))
        assert cell.tobytes() == image.resize((width, height), Image.Resampling.NEAREST).tobytes()
    assert sheet.getpixel((width, 0)) == sheet.getpixel((0, height + 1)) == (255, 255, 255)
    assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)  # the sixth place is empty


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (16, 4, 4), (17, 5, 4)])
def test_without_columns_a_grid_is_about_square(count: int, columns: int, rows: int) -> None:
    assert pictures.grid(_plain(count, (600, 600)), gap=1).size == (columns * 601 - 1, rows * 601 - 1)


@pytest.mark.parametrize(
    ("size", "count", "longer"),
    [((1, 1), 1, 512), ((32, 32), 16, 518), ((128, 128), 16, 518), ((200, 100), 4, 802), ((512, 512), 1, 512)],
)
def test_small_pictures_are_shown_larger_by_a_whole_factor(size: tuple[int, int], count: int, longer: int) -> None:
    assert max(pictures.grid(_plain(count, size)).size) == longer


@pytest.mark.parametrize(("size", "count", "columns"), [((512, 512), 30, 30), ((64, 512), 40, 2), ((9000, 9), 1, 1)])
def test_a_huge_grid_shrinks_to_its_limit(size: tuple[int, int], count: int, columns: int) -> None:
    longer = max(pictures.grid([Image.new("RGB", size)] * count, columns).size)
    assert 8000 < longer <= 8192


def test_grids_take_any_mode_and_more_columns_than_pictures() -> None:
    sheet = pictures.grid([Image.new("L", (512, 512), 90), Image.new("RGBA", (512, 512), (1, 2, 3, 255))], columns=9)
    assert sheet.size == (1026, 512)
    assert (sheet.getpixel((0, 0)), sheet.getpixel((600, 0))) == ((90, 90, 90), (1, 2, 3))


@pytest.mark.parametrize("images", [[], _plain(1, (2, 2)) + _plain(1, (2, 3))])
def test_pictures_of_one_size_are_wanted(images: list[Image.Image]) -> None:
    with pytest.raises(ValueError, match="pictures of one size"):
        pictures.grid(images)


@pytest.mark.parametrize("side", [16, 32, 64, 128, 256, 512])
def test_a_strip_holds_pictures_and_captions(side: int) -> None:
    images = _plain(4, (side, side))
    sheet = pictures.strip(images, [f"t = {t}" for t in (0, 50, 200, 999)])
    shown = max(side, 128)
    size = min(28, max(13, shown // 12))
    gap, line = max(4, size // 2), 2 * size
    assert sheet.size == (gap + 4 * (shown + gap), gap + shown + line)
    for i in range(4):
        left = gap + i * (shown + gap)
        assert sheet.crop((left, gap, left + shown, gap + shown)).getcolors() == [(shown * shown, _colour(i))]
        below = sheet.crop((left, gap + shown, left + shown, sheet.height)).convert("L")
        ink = below.point(lambda value: 255 * (value < 128)).getbbox()
        assert ink is not None and ink[2] - ink[0] < shown and ink[1] > 0 and ink[3] < line  # whole, inside its place
        assert abs((ink[0] + ink[2]) / 2 - shown / 2) <= 2  # and in the middle


def test_a_long_strip_goes_on_below() -> None:
    sheet = pictures.strip(_plain(13, (128, 128)), [str(i) for i in range(13)])
    assert sheet.size == (6 + 10 * 134, 6 + 2 * 154)
    assert sheet.getpixel((6, 6 + 154)) == _colour(10)
    with pytest.raises(ValueError, match="shorter"):
        pictures.strip(_plain(2, (8, 8)), ["one"])


def _frames(count: int, side: int) -> list[Image.Image]:
    frames = []
    for i in range(count):
        frame = Image.linear_gradient("L").resize((side, side)).convert("RGB")
        ImageDraw.Draw(frame).ellipse((i, i, i + side // 3, i + side // 3), fill=_colour(i))
        frames.append(frame)
    return frames


def test_a_gif_comes_back_frame_by_frame(tmp_path: Path) -> None:
    frames, path = _frames(6, 130), tmp_path / "progress.gif"
    pictures.gif(frames, path, 400)
    with Image.open(path) as film:
        assert (film.n_frames, film.info["loop"]) == (6, 0)
        assert film.size == (520, 520)  # four times 130
        for i, frame in enumerate(frames):
            film.seek(i)
            assert film.info["duration"] == (1600 if i == 5 else 400)
            shown = film.convert("RGB").resize(frame.size, Image.Resampling.NEAREST)
            worst = max(abs(a - b) for a, b in zip(shown.tobytes(), frame.tobytes(), strict=True))
            assert worst <= 8  # nothing of another frame shines through, and the colours hold


def test_the_gaps_of_a_grid_stay_white_whatever_the_pictures(tmp_path: Path) -> None:
    noise = Image.effect_noise((32, 32), 90)
    pink = Image.merge("RGB", [noise.point(lambda v: 200 + v // 8), noise, noise.rotate(90)])
    sheets = [pictures.grid([pink.rotate(90 * i)] * 16) for i in range(3)]
    pictures.gif(sheets, tmp_path / "progress.gif", 100)
    with Image.open(tmp_path / "progress.gif") as film:
        for i in range(3):
            film.seek(i)
            shown = film.convert("RGB")
            assert {shown.getpixel((128, y)) for y in range(518)} == {(255, 255, 255)}


def test_a_gif_of_files(tmp_path: Path) -> None:
    paths = []
    for i, frame in enumerate(_frames(3, 1500)):
        paths.append(tmp_path / f"step-{i}.png")
        frame.save(paths[-1])
    pictures.gif(paths, tmp_path / "progress.gif", 100)
    with Image.open(tmp_path / "progress.gif") as film:
        assert (film.n_frames, film.size) == (3, (1024, 1024))


def test_one_frame_and_equal_frames(tmp_path: Path) -> None:
    pictures.gif(_plain(1, (512, 512)), tmp_path / "one.gif", 100)
    pictures.gif(_plain(1, (512, 512)) * 3, tmp_path / "same.gif", 100)
    for name in ("one.gif", "same.gif"):
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 1


def test_frames_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "progress.gif"
    for frames in ([], [*_plain(1, (2, 2)), *_plain(1, (2, 3))]):
        with pytest.raises(ValueError, match="frames of one size"):
            pictures.gif(frames, path, 100)
    (tmp_path / "broken.png").write_text("<html>")
    with pytest.raises(EnvironmentFault, match=r"cannot read .*broken\.png"):
        pictures.gif([tmp_path / "broken.png"], path, 100)
    assert not path.exists()
