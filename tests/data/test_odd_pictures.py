"""Broken and odd pictures: each is used, skipped with its name and a reason, or stops the run.

RECIPE_PILLOW_IMAGES names a folder of pictures to read as well, such as Tests/images of pillow's source.
"""

import io
import json
import os
import random
import shutil
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from runner.cli import main
from runner.data import decode
from runner.data.cache import Pictures, prepare
from runner.data.folder import KINDS, OTHER_KINDS, Folder
from runner.data.room import Room
from runner.data.workers import in_order
from runner.processes.world import World
from tests.corpus.table import toy
from tests.corpus.table import write as write_recipe

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

SIZE = (24, 18)
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F"]
FORMATS: dict[str, list[dict]] = {
    "png": [{}, {"transparency": 0}, {"bits": 4}, {"icc_profile": b"no profile"}],
    "jpg": [{}, {"progressive": True}, {"subsampling": 2, "optimize": True}, {"icc_profile": b"x" * 70_000}],
    "webp": [{}, {"lossless": True}, {"quality": 1, "alpha_quality": 1}],
    "bmp": [{}],
    "gif": [{}, {"interlace": 0}, {"transparency": 0}],
    "tiff": [{}, {"big_tiff": True}, *({"compression": c} for c in ("tiff_lzw", "packbits", "jpeg", "group4"))],
}
HEADS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"RIFF\xff\xff\xff\xffWEBPVP8L",
]
HEADS += [
    b"BM",
    b"\0" * 8,
    b"<!DOCTYPE html>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"8BPS",
    b"\x80\x02",
    b"PK\x03\x04",
    b"P6 9 9 255\n",
]


def plain(mode: str) -> Image.Image:
    """A picture that is not all of one colour."""
    noise = Image.linear_gradient("L").resize(SIZE)
    if mode == "PA":
        return Image.merge("LA", [noise, noise]).convert("PA")
    if mode in ("LAB", "I;16", "I;16B"):
        depth = Image.new(mode, SIZE)
        depth.paste(1, (0, 0, 9, 9)) if mode != "LAB" else None
        return depth
    return Image.merge("RGB", [noise, noise.transpose(Image.Transpose.ROTATE_180), noise]).convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes | None:
    """The picture's file; None where pillow does not write such a one."""
    only = {"jpeg": {"L", "RGB"}, "group4": {"1"}}.get(options.get("compression"))
    if only is not None and image.mode not in only:  # libtiff would say so on the screen
        return None
    if image.mode == "I;16B" and "big_tiff" in options:  # pillow does not read what it writes
        return None
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    try:
        image.save(file, {"jpg": "JPEG"}.get(kind, kind.upper()), **{"exif": exif, **options})
    except (OSError, ValueError, KeyError, SystemError, RuntimeError):
        return None
    return file.getvalue()


def good() -> dict[str, bytes]:
    """Right pictures by name: every format and mode that pillow writes, plain and odd, and animations."""
    found: dict[str, bytes | None] = {}
    for kind, options in FORMATS.items():
        for mode in MODES:
            for number, option in enumerate(options):
                found[f"{mode.replace(';', '-')}_{number}.{kind}"] = saved(plain(mode), kind, **option)
    frames = [plain("RGB").rotate(angle) for angle in range(40)]
    for kind in ("png", "webp", "gif", "tiff"):
        found[f"frames.{kind}"] = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    mpo = io.BytesIO()
    frames[0].save(mpo, "MPO", save_all=True, append_images=frames[1:3])
    found["frames.jpg"] = mpo.getvalue()
    return {name: data for name, data in found.items() if data is not None}


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The file with its end cut off, bits flipped, another head, or something in between."""
    changed = bytearray(data)
    kind = dice.randrange(4)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        for _ in range(dice.choice([1, 1, 2, 8])):
            changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        head = dice.choice(HEADS)
        changed[: dice.choice([0, len(head)])] = head
    else:
        at = dice.randrange(len(data))
        changed[at : at + dice.choice([0, 1, 4, 50])] = dice.randbytes(dice.choice([0, 1, 4, 50]))
    return bytes(changed)


def huge() -> dict[str, bytes]:
    """Small files that declare sizes no memory holds, and one whose size is just below the limit."""

    def chunk(data: bytes) -> bytes:
        return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))

    def png(width: int, height: int) -> bytes:
        header = chunk(struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0))
        return HEADS[0] + header + chunk(b"IDAT" + zlib.compress(bytes(99))) + chunk(b"IEND")

    jpg, bmp, gif = (bytearray(saved(plain("RGB"), kind) or b"") for kind in ("jpg", "bmp", "gif"))
    frame = jpg.index(b"\xff\xc0")
    jpg[frame + 5 : frame + 9] = b"\xff" * 4
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    gif[6:10] = b"\xff" * 4
    tiff = bytearray(saved(plain("RGB"), "tiff") or b"").replace(
        struct.pack("<HHIHH", 256, 4, 1, SIZE[0], 0), struct.pack("<HHII", 256, 4, 1, 2**31)
    )
    whole = {"huge.jpg": bytes(jpg), "huge.bmp": bytes(bmp), "huge.gif": bytes(gif), "huge.tiff": bytes(tiff)}
    return whole | {
        "huge.png": png(100_000, 100_000),
        "most.png": png(2**31 - 1, 2**31 - 1),
        "thin.png": png(2**31 - 1, 1),
    }


def read(root: Path, cache: Path, section, progress) -> Pictures:
    """The pictures of a folder, those skipped that cannot be used: every one that is there is told of."""
    source = Folder(id=str(root), caption_column="text", metadata_file=None)
    pictures = prepare(
        source, section=section(id=str(root), on_error="skip"), cache_dir=cache, progress=progress, world=World()
    )
    there = [p for p in root.rglob("*") if p.suffix.lower() in KINDS | OTHER_KINDS and not p.name.startswith(".")]
    names = [pictures.name(i) for i in range(len(pictures))] + [name for name, _ in pictures.skipped]
    assert sorted(names) == sorted(p.relative_to(root).as_posix() for p in there)
    assert len(pictures) + len(pictures.skipped) == pictures.found == source.count
    assert all(reason and reason.isprintable() and len(reason) < 300 for _, reason in pictures.skipped)
    return pictures


def write(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    return root


def test_all_that_pillow_writes_is_used(tmp_path, section, progress):
    pictures = read(write(tmp_path / "good", good()), tmp_path / "cache", section, progress)
    assert pictures.skipped == []
    assert len(pictures) > 150


def test_endings_of_names_do_not_matter(tmp_path, section, progress):
    endings = [".png", ".jpg", ".webp", ".bmp", ".gif", ".tif"]
    files = {f"{i}{endings[i % 6]}": data for i, data in enumerate(good().values())}
    assert read(write(tmp_path / "good", files), tmp_path / "cache", section, progress).skipped == []


def test_sizes_that_no_memory_holds_are_not_tried(tmp_path, section, progress):
    files = huge() | {"good.png": saved(plain("RGB"), "png") or b""}
    pictures = read(write(tmp_path / "huge", files), tmp_path / "cache", section, progress)
    assert [pictures.name(i) for i in range(len(pictures))] == ["good.png"]
    assert "declares" in dict(pictures.skipped)["huge.png"]


def broken(root: Path, count: int, seed: int) -> Path:
    """So many damaged pictures beside a few good ones."""
    dice, files = random.Random(seed), good()
    names = list(files)
    chosen = ((f"{i:05}_{name}", damaged(files[name], dice)) for i in range(count) for name in [dice.choice(names)])
    return write(root, dict(chosen) | {name: files[name] for name in names[:3]})


def test_hundreds_of_damaged_pictures(tmp_path, section, progress):
    pictures = read(broken(tmp_path / "bad", 400, 1), tmp_path / "cache", section, progress)
    assert 3 < len(pictures) < 400
    assert f"{len(pictures.skipped)} of 403 pictures cannot be used" in progress.warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_thousands_of_damaged_pictures(tmp_path, section, progress, seed):
    read(broken(tmp_path / "bad", 3000, seed), tmp_path / "cache", section, progress)


def test_the_screen_tells_how_many_are_used_and_skipped(here, capsys):
    broken(here / "bad", 40, 2)
    write_recipe(toy() | {"data": {"type": "folder", "id": "./bad", "resolution": 16}}, "r.yaml")
    assert main(["data", "r.yaml", "--format", "json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    used, skipped = facts["used"], len(facts["skipped"])
    assert used + skipped == facts["found"] == 43
    assert main(["data", "r.yaml"]) == 0
    assert f"43 found, {used} used, {skipped} skipped" in capsys.readouterr().out


def test_what_is_no_file_is_named_and_never_opened(tmp_path, section, progress, monkeypatch):
    root = write(tmp_path / "odd", {"a.png": saved(plain("RGB"), "png") or b""})
    os.mkfifo(root / "pipe.png")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "round").symlink_to(root)
    (root / "folder.png").mkdir()
    monkeypatch.chdir(root)  # a socket's name may have a hundred letters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.gif")
    source = Folder(id=str(root), caption_column="text", metadata_file=None)
    pictures = prepare(
        source, section=section(on_error="skip"), cache_dir=tmp_path / "cache", progress=progress, world=World()
    )
    assert pictures.name(0) == "a.png"
    assert [name for name, _ in pictures.skipped] == ["loop.jpg", "pipe.png", "round", "socket.gif", "zero.png"]


@pytest.mark.parametrize("fitting", [1, 3])
def test_as_many_pictures_are_in_memory_as_fit(monkeypatch, fitting):
    monkeypatch.setattr(decode, "ROOM", Room(fitting * SIZE[0] * SIZE[1]))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    data, busy, most = saved(plain("RGB"), "png") or b"", [], []

    def work(number: int) -> int:
        image = decode.open_picture(io.BytesIO(data))
        busy.append(number)
        most.append(len(busy))
        time.sleep(0.001)
        busy.remove(number)
        return image.width

    assert list(in_order(work, range(50))) == [SIZE[0]] * 50
    assert max(most) <= fitting


IMAGES = os.environ.get("RECIPE_PILLOW_IMAGES")


@pytest.mark.skipif(not IMAGES, reason="RECIPE_PILLOW_IMAGES names no folder of pictures")
def test_pictures_of_pillows_own_tests(tmp_path, section, progress):
    root = shutil.copytree(IMAGES or "", tmp_path / "images")
    pictures = read(root, tmp_path / "cache", section, progress)
    assert pictures.found and all(reason for _, reason in pictures.skipped)
    kinds = sorted({reason.partition(" (")[0] for _, reason in pictures.skipped})
    print(f"{len(pictures)} used, {len(pictures.skipped)} skipped of {pictures.found}: {'; '.join(kinds)}")
