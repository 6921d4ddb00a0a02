import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from runner.data import decode
from runner.data.decode import MAX_PIXELS, BadPicture, open_picture, reason, to_rgb

WHITE = "#ffffff"


def saved(image: Image.Image, format: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def decoded(file: io.BytesIO, background: str = WHITE) -> np.ndarray:
    rgb = to_rgb(open_picture(file), background)
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


def ramp(dtype: str, top: float) -> np.ndarray:
    return np.linspace(0, top, 256).round().reshape(16, 16).astype(dtype)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_gives_its_colours(format):
    array = decoded(saved(Image.new("RGB", (24, 16), (200, 30, 40)), format))
    assert array.shape == (16, 24, 3)
    assert abs(array.astype(int) - (200, 30, 40)).max() <= 4  # lossy formats


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("LA", (0, 128), (127, 127, 127)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("P", 0, (0, 0, 0)),
        ("RGBa", (0, 0, 0, 0), (255, 255, 255)),
        ("PA", (0, 0), (255, 255, 255)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
    ],
)
def test_modes(mode, colour, expected):
    pixel = np.asarray(to_rgb(Image.new(mode, (2, 2), colour), WHITE))[0, 0]
    assert abs(pixel.astype(int) - expected).max() <= 2


def test_sixteen_bit_grey_is_scaled_not_clipped():
    array = decoded(saved(Image.fromarray(ramp("uint16", 65535)), "PNG"))
    assert array[..., 0].ravel().tolist() == list(range(256))


def test_big_endian_sixteen_bit_tiff():
    values = ramp("uint16", 65535)
    image = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    assert np.asarray(to_rgb(image, WHITE))[..., 0].ravel().tolist() == list(range(256))


@pytest.mark.parametrize(
    ("dtype", "top"),
    [("int32", 65535), ("int32", 2_000_000_000), ("float32", 255.0)],
)
def test_deep_pixels_keep_their_range(dtype, top):
    array = decoded(saved(Image.fromarray(ramp(dtype, top)), "TIFF"))[..., 0]
    assert (array[0, 0], array[-1, -1]) == (0, 255)
    assert np.all(np.diff(array.ravel().astype(int)) >= 0)


def test_float_pixels_from_zero_to_one():
    image = Image.fromarray(np.full((4, 4), 0.5, "float32"))
    assert np.asarray(to_rgb(image, WHITE))[0, 0, 0] == 128


def test_a_deep_picture_of_one_value_beyond_the_range():
    assert np.asarray(to_rgb(Image.fromarray(np.full((4, 4), -5, "int32")), WHITE)).max() == 0


def test_not_a_number_is_a_reason():
    with pytest.raises(BadPicture, match="not numbers"):
        to_rgb(Image.fromarray(np.full((4, 4), np.nan, "float32")), WHITE)


def test_transparency_lies_on_the_background():
    image = Image.new("P", (4, 4), 3)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    array = decoded(saved(image, "PNG", transparency=3), "#102030")
    assert array[0, 0].tolist() == [255, 0, 0]
    assert array[2, 2].tolist() == [0x10, 0x20, 0x30]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7))])
def test_a_transparent_colour_key(mode, key):
    array = decoded(saved(Image.new(mode, (4, 4), key), "PNG", transparency=key), "#00ff00")
    assert array[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_upright_pixels(format, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # a white top left corner, unlike under every turn
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    stored = Image.fromarray(upright)
    if undo is not None:
        exif = Image.Exif()
        exif[0x0112] = undo
        turned = stored.copy()
        turned.getexif()[0x0112] = undo
        stored = ImageOps.exif_transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    clean = Image.fromarray(np.asarray(stored))
    array = decoded(saved(clean, format, exif=exif, **lossless))
    assert array.shape == upright.shape
    assert abs(array.astype(int) - upright).max() < 30


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for format in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):
        options = {"lossless": True} if format == "WEBP" else {}
        file = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert abs(decoded(file)[4, 4].astype(int) - (255, 0, 0)).max() <= 2


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(data: bytes) -> bytes:
        return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))

    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b"")) + chunk(b"IEND")


def why(data: bytes) -> str:
    with pytest.raises(Exception) as caught:
        to_rgb(open_picture(io.BytesIO(data)), WHITE)
    return reason(caught.value)


def test_broken_files_have_reasons_in_words():
    good = saved(Image.effect_noise((64, 64), 80), "JPEG").getvalue()
    assert why(b"") == "is empty (0 bytes)"
    assert "truncated" in why(good[: len(good) // 2])
    html = why(b"<!DOCTYPE html><html>")
    assert html == "cannot be read as PNG, JPEG, WEBP, BMP, GIF or TIFF (it is a web page)"
    assert why("root:x:0:0: señor\n".encode()) == "cannot be read as PNG, JPEG, WEBP, BMP, GIF or TIFF (it is text)"
    assert why(bytes(range(64))) == "cannot be read as PNG, JPEG, WEBP, BMP, GIF or TIFF"
    assert why(b"\x89PNG\r\n\x1a\n\0\0\0\rIHXX" + bytes(40)) == "is damaged (a PNG whose header cannot be read)"
    assert "git lfs pull" in why(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert why(png_that_declares(100_000, 100_000)) == f"declares more than the {MAX_PIXELS:,} pixels that are read"


def test_postscript_is_never_handed_to_a_decoder():
    assert why(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n").startswith("cannot be read as PNG")


@pytest.mark.parametrize(
    "error",
    [
        OSError("odd"),
        SyntaxError("not a TIFF"),
        ValueError(""),
        TypeError("x"),
        NotImplementedError("codec"),
        EOFError(),
        struct.error("unpack"),
        MemoryError(),
        Image.DecompressionBombError("bomb"),
        PermissionError(13, "Permission denied"),
        ValueError("line\nbreak \x1b[2J"),
    ],
)
def test_every_reason_is_one_printable_line(error):
    words = reason(error)
    assert words.isprintable()
    assert words.split()[0] in ("is", "needs", "declares", "cannot")


@pytest.mark.filterwarnings("ignore")
def test_damaged_copies_of_every_format_end_in_a_picture_or_a_reason():
    rng = np.random.default_rng(0)
    noise = Image.effect_noise((32, 32), 80).convert("RGB")
    for format in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        good = saved(noise, format).getvalue()
        for _ in range(60):
            data = bytearray(good)
            for place in rng.integers(len(data), size=rng.integers(1, 8)):
                data[place] ^= int(rng.integers(1, 256))
            data = data[: rng.integers(1, len(data) + 1)]
            try:
                assert to_rgb(open_picture(io.BytesIO(bytes(data))), WHITE).mode == "RGB"
            except Exception as error:
                assert reason(error).isprintable()


def test_real_photographs(shared_data: Path):
    path = next((shared_data / "flowers/train/rose").glob("*.jpg"))
    with path.open("rb") as file:
        assert to_rgb(open_picture(file), WHITE).size == (128, 128)


@pytest.mark.parametrize("mode", ["F", "I", "I;16"])
def test_grey_of_many_bits_is_scaled_without_copies_of_the_whole(mode, monkeypatch):
    kind = {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode]
    values = np.random.default_rng(0).integers(0, 65536, (500, 400)).astype(kind) - (100 if mode == "F" else 0)
    image = Image.fromarray(values)
    whole = np.asarray(to_rgb(image, "#ffffff"))
    monkeypatch.setattr(decode, "_BAND", 4000)
    tracemalloc.start()
    banded = to_rgb(image, "#ffffff")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(np.asarray(banded), whole)
    assert peak < values.size
