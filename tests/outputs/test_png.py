"""Text in PNG files: there and back, and nothing to fear from a stranger's file."""

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from runner.errors import EnvironmentFault
from runner.outputs import png

PICTURE = Image.new("RGB", (3, 2), (200, 30, 40))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _with(tmp_path: Path, *chunks: bytes) -> Path:
    """A picture with `chunks` behind its header chunk."""
    data = png.encode(PICTURE, {})
    head = 8 + 12 + 13
    path = tmp_path / "made.png"
    path.write_bytes(data[:head] + b"".join(chunks) + data[head:])
    return path


@pytest.mark.parametrize(
    "text",
    ["name: rose\n", "prompt: eine weiße Rose 🌹 \u202e'\n", "", "x: y\n" * 20_000],
    ids=["ascii", "unicode", "empty", "100 kB"],
)
def test_texts_come_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rose.png"
    png.save(PICTURE, path, {"recipe": text, "seed": "7"})
    assert png.read(path) == {"recipe": text, "seed": "7", "software": "recipe"}
    with Image.open(path) as other:  # and for another reader
        other.load()
        assert other.text["recipe"] == text
        assert other.getpixel((1, 1)) == (200, 30, 40)


def test_what_another_writer_packs_is_read(tmp_path: Path) -> None:
    packed = zlib.compress("weiß".encode())
    path = _with(
        tmp_path,
        _chunk(b"iTXt", b"recipe\0\1\0de\0Rezept\0" + packed),
        _chunk(b"zTXt", b"note\0\0" + zlib.compress(b"na\xefve")),
    )
    assert png.read(path) == {"recipe": "weiß", "note": "naïve", "software": "recipe"}


def test_a_bomb_is_left_out(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(50 << 20))
    path = _with(tmp_path, _chunk(b"zTXt", b"recipe\0\0" + bomb), _chunk(b"iTXt", b"more\0\1\0\0\0" + bomb))
    assert png.read(path) == {"software": "recipe"}


def test_texts_are_limited_one_by_one_and_together(tmp_path: Path) -> None:
    path = _with(tmp_path, _chunk(b"tEXt", b"large\0" + b"x" * (1 << 20)))
    assert "large" not in png.read(path)
    path = _with(tmp_path, *(_chunk(b"tEXt", b"k%d\0" % i + b"x" * 1_000_000) for i in range(8)))
    assert [key for key in png.read(path) if key != "software"] == ["k0", "k1", "k2", "k3"]


@pytest.mark.parametrize(
    "chunk",
    [
        _chunk(b"tEXt", b"recipe\0good")[:-1] + b"\0",  # checksum
        _chunk(b"iTXt", b"recipe\0"),
        _chunk(b"iTXt", b"recipe\0\0\0\0\0\xff\xfe"),
        _chunk(b"zTXt", b"recipe\0\0no zlib"),
        _chunk(b"zTXt", b"recipe\0\0" + zlib.compress(b"cut short, and more of it")[:-8]),
    ],
)
def test_a_malformed_text_is_left_out(tmp_path: Path, chunk: bytes) -> None:
    assert png.read(_with(tmp_path, chunk)) == {"software": "recipe"}


def test_every_way_to_cut_a_file_short_is_survived(tmp_path: Path) -> None:
    data = png.encode(PICTURE, {"recipe": "name: rose"})
    path = tmp_path / "cut.png"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert png.read(path).get("recipe", "name: rose") == "name: rose"


def test_other_files_have_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("<html>")
    assert not png.is_png(path) and png.read(path) == {}
    assert not png.is_png(tmp_path / "none.png") and not png.is_png(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"cannot read .*none\.png"):
        png.read(tmp_path / "none.png")
    png.save(PICTURE, path, {})
    assert png.is_png(path)
