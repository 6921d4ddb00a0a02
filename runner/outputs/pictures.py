"""Pictures made of pictures: grids, captioned strips and the GIF. Single pictures are never touched here.

Small pictures are enlarged by a whole factor with hard edges, so that every pixel stays a square.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from runner.outputs.files import faults, write_bytes

COMFORTABLE = 512  # pixels of a grid's longer side, at least
MOST = 8192  # and at most
_CELL = 128  # pixels of a strip's cell, at least
_STRIP_COLUMNS = 10
_MOST_FRAME = 1024  # pixels of a GIF's longer side, at most
_SAMPLE = 128  # a frame's palette is found on this many pixels squared
_LAST_FRAME = 4  # the last frame stands this many times as long


def grid(
    images: Sequence[Image.Image], columns: int | None = None, gap: int = 2, background: str = "white"
) -> Image.Image:
    """Pictures of one size row by row, `gap` pixels apart; without `columns`, about square.

    The pictures grow by the least whole factor that makes the longer side 512 pixels or more, and shrink where it
    would pass 8192. Picture i lies at column i % columns, row i // columns.

    Raises:
        ValueError: no pictures, or pictures of different sizes.
    """
    width, height = _one_size(images)
    columns = min(len(images), columns or math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    width, height = _cell(width, height, columns, rows, gap)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), background)
    for i, image in enumerate(images):
        place = (i % columns * (width + gap), i // columns * (height + gap))
        sheet.paste(sized(image, width, height), place)
    return sheet


def strip(images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Pictures of one size side by side, ten in a row at most, each with its caption below.

    Pictures under 128 pixels of width grow by a whole factor.

    Raises:
        ValueError: no pictures, pictures of different sizes, or not a caption for each.
    """
    width, height = _one_size(images)
    factor = max(1, math.ceil(_CELL / width))
    width, height = width * factor, height * factor
    size = min(28, max(13, width // 12))
    gap, line = max(4, size // 2), 2 * size
    columns = min(len(images), _STRIP_COLUMNS)
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (gap + columns * (width + gap), gap + rows * (height + line)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = gap + i % columns * (width + gap), gap + i // columns * (height + line)
        sheet.paste(sized(image, width, height), (left, top))
        draw.text((left + width / 2, top + height + line / 2), caption, fill="#333333", font=font, anchor="mm")
    return sheet


def gif(frames: Sequence[Path | Image.Image], path: Path, duration_ms: int) -> None:
    """Write an endless GIF of equal frames, each `duration_ms` long and the last four times that.

    Frames under 512 pixels grow by a whole factor, those over 1024 shrink to it. A frame that equals the one before
    it is shown as one, for both their times.

    Raises:
        ValueError: no frames, or frames of different sizes.
        EnvironmentFault: a frame cannot be read, or the disk refuses.
    """
    durations = [duration_ms] * (len(frames) - 1) + [duration_ms * _LAST_FRAME]
    sizes, paletted = set(), []
    for frame in frames:  # one at a time: a long run has more than a process may have files open
        picture = _loaded(frame)
        sizes.add(picture.size)
        paletted.append(_paletted(_framed(picture)))
    if len(sizes) != 1:
        raise ValueError(f"frames of one size are wanted, got {sorted(sizes)}")
    file = io.BytesIO()
    paletted[0].save(file, "GIF", save_all=True, append_images=paletted[1:], duration=durations, loop=0)
    write_bytes(path, file.getvalue())


def _loaded(frame: Path | Image.Image) -> Image.Image:
    if isinstance(frame, Image.Image):
        return frame
    with faults(frame, "read"), Image.open(frame) as picture:
        return picture.convert("RGB")


def _framed(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    longer = max(width, height)
    if longer > _MOST_FRAME:
        return sized(picture, max(1, width * _MOST_FRAME // longer), max(1, height * _MOST_FRAME // longer))
    factor = math.ceil(COMFORTABLE / longer)
    return sized(picture, width * factor, height * factor)


def _paletted(image: Image.Image) -> Image.Image:
    """`image` in the 256 colours that fit this frame best, found on a sample of its pixels (all of them take seconds).

    Each frame has its own palette: noise and flowers share few colours. White and black are always in it, or the
    gaps of a grid would change their tint. No dithering: its dots would dance.
    """
    sample = image.resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST)
    best = sample.quantize(256 - 2, method=Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([0, 0, 0, 255, 255, 255, *best])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def _one_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    sizes = {image.size for image in images}
    if len(sizes) != 1:
        raise ValueError(f"pictures of one size are wanted, got {sorted(sizes) or 'none'}")
    return sizes.pop()


def _cell(width: int, height: int, columns: int, rows: int, gap: int) -> tuple[int, int]:
    """The size at which a picture of width x height stands in a grid."""

    def longer(factor: float) -> float:
        return max(columns * (width * factor + gap), rows * (height * factor + gap)) - gap

    if longer(1) > MOST:
        factor = min((MOST - (n - 1) * gap) / (n * side) for n, side in ((columns, width), (rows, height)))
        return max(1, int(width * factor)), max(1, int(height * factor))
    whole = next(factor for factor in range(1, COMFORTABLE + 1) if longer(factor) >= COMFORTABLE)
    return width * whole, height * whole


def sized(image: Image.Image, width: int, height: int) -> Image.Image:
    """An RGB copy of width x height: hard-edged where it grows, smooth where it shrinks."""
    image = image.convert("RGB")
    if image.size == (width, height):
        return image
    grows = width >= image.width
    return image.resize((width, height), Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)
