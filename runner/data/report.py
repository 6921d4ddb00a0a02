"""What `recipe data` tells: counts, sizes, classes, captions, broken files, and a contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from runner.data.buckets import bucket_sizes
from runner.data.cache import Pictures
from runner.data.texts import Texts
from runner.outputs.files import write_bytes
from runner.outputs.png import pack
from runner.shown import shown

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_NAMED = 5  # pictures without a caption in a text
_BUCKETS_A_LINE = 6
_LISTED = 20  # classes and broken files in a text; JSON has them all
_COLUMNS, _CELLS = 8, 64
_CELL, _STRIP, _GAP = 128, 30, 8  # pixels: a picture's side, the two lines of text below it, the space between


def facts(
    pictures: Pictures,
    *,
    resolution: int,
    buckets: Mapping[str, Any] | None = None,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """All that can be told of prepared pictures, as plain values fit for JSON.

    Sizes are those before scaling. `smaller` counts pictures that scaling makes larger.

    Args:
        resolution: `data.resolution`.
        buckets: `data.aspect_ratio_buckets`.
        told: the keys of `data` that stand in for captions: `instance_prompt`, `caption_templates`.
    """
    width, height = np.asarray(pictures.original_sizes).T
    return {
        "found": pictures.found,
        "used": len(pictures),
        "skipped": [{"name": name, "reason": reason} for name, reason in pictures.skipped],
        "width": _spread(width),
        "height": _spread(height),
        "aspect": _spread(width / height),
        "smaller": int(((height < pictures.sizes[:, 0]) | (width < pictures.sizes[:, 1])).sum()),
        "resolution": resolution,
        "buckets": _buckets(pictures, resolution, buckets) if buckets is not None else [],
        "sources": _sources(pictures),
        "epoch": int(pictures.repeats.sum()),
        "classes": _classes(pictures),
        "captions": _captions(pictures, Texts(pictures, told, 0).missing()),
    }


def render(facts: dict[str, Any]) -> str:
    """The facts as lines for people."""
    lines = [("pictures", f"{facts['found']} found, {facts['used']} used, {len(facts['skipped'])} skipped")]
    lines += [("", f"{shown(s['name'], 100)} {s['reason']}") for s in facts["skipped"][:_LISTED]]
    if len(facts["skipped"]) > _LISTED:
        lines.append(("", f"and {len(facts['skipped']) - _LISTED} more"))
    for key in ("width", "height", "aspect"):
        spread = facts[key]
        lines.append((key, f"{spread['min']:g} to {spread['max']:g}, median {spread['median']:g}"))
    if facts["smaller"]:
        size = "their bucket" if facts["buckets"] else f"{facts['resolution']} pixels"
        lines.append(("", f"{facts['smaller']} smaller than {size}: they are enlarged"))
    lines += _bucket_lines(facts["buckets"])
    lines += _source_lines(facts)
    lines.append(("classes", _class_line(facts["classes"])))
    lines += _caption_lines(facts["captions"], facts["used"])
    return "\n".join(f"{title:<10}{text}" for title, text in lines)


def contact_sheet(pictures: Pictures, path: Path) -> None:
    """Write up to 64 pictures, spread evenly over the set and as training sees them, as a labelled PNG.

    Raises:
        EnvironmentFault: `path` cannot be written.
    """
    count = min(len(pictures), _CELLS)
    chosen = np.linspace(0, len(pictures) - 1, count).round().astype(int)
    columns, rows = min(_COLUMNS, count), -(-count // _COLUMNS)
    sheet = Image.new("RGB", (_GAP + columns * (_CELL + _GAP), _GAP + rows * (_CELL + _STRIP + _GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for cell, i in enumerate(chosen.tolist()):
        row, column = divmod(cell, _COLUMNS)
        left, top = _GAP + column * (_CELL + _GAP), _GAP + row * (_CELL + _STRIP + _GAP)
        picture = _scaled(Image.fromarray(np.asarray(pictures[i])))
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        for line, text in enumerate(_labels(pictures, i, font)):
            draw.text((left, top + _CELL + 2 + 13 * line), text, fill="black", font=font)
    write_bytes(path, pack(sheet))


def _spread(values: NDArray[Any]) -> dict[str, float]:
    low, middle, high = (round(float(value), 2) for value in (values.min(), np.median(values), values.max()))
    return {"min": low, "median": middle, "max": high}


def _classes(pictures: Pictures) -> dict[str, int]:
    if pictures.labels is None:
        return {}
    counts = np.bincount(pictures.labels[pictures.labels >= 0], minlength=len(pictures.classes))
    return dict(zip(pictures.classes, counts.tolist(), strict=True))


def _buckets(pictures: Pictures, resolution: int, buckets: Mapping[str, Any]) -> list[dict[str, int]]:
    counts = Counter((int(height), int(width)) for height, width in pictures.sizes)
    return [{"width": w, "height": h, "count": counts[h, w]} for h, w in bucket_sizes(resolution, **buckets)]


def _sources(pictures: Pictures) -> list[dict[str, Any]]:
    if not pictures.origins[0].name:
        return []
    counts = np.bincount(pictures.origin, minlength=len(pictures.origins)).tolist()
    told = zip(pictures.origins, counts, strict=True)
    return [{"name": name, "used": n, "repeats": repeats, **captions} for (name, repeats, captions), n in told]


def _captions(pictures: Pictures, missing: list[str]) -> dict[str, Any]:
    captions = [caption for i in range(len(pictures)) if (caption := pictures.caption(i)) is not None]
    found: dict[str, Any] = {"count": len(captions), "missing": len(missing), "without": missing[:_LISTED]}
    if captions:
        found |= {"characters": _spread(np.array([len(caption) for caption in captions]))}
        found |= {"words": _spread(np.array([len(caption.split()) for caption in captions]))}
    return found


def _class_line(classes: dict[str, int]) -> str:
    if not classes:
        return "none"
    listed = [f"{shown(name, 60)} {count}" for name, count in list(classes.items())[:_LISTED]]
    more = f" and {len(classes) - _LISTED} more" if len(classes) > _LISTED else ""
    return f"{len(classes)}: {', '.join(listed)}{more}"


def _bucket_lines(buckets: list[dict[str, int]]) -> list[tuple[str, str]]:
    used = [f"{size['width']} x {size['height']}: {size['count']}" for size in buckets if size["count"]]
    rows = [", ".join(used[i : i + _BUCKETS_A_LINE]) for i in range(0, len(used), _BUCKETS_A_LINE)]
    return [("" if i else "buckets", row) for i, row in enumerate(rows)]


def _source_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for source in facts["sources"][:_LISTED]:
        often = f", each {source['repeats']} times an epoch" if source["repeats"] > 1 else ""
        prompt = f", each '{shown(source['instance_prompt'], 60)}'" if "instance_prompt" in source else ""
        lines.append(f"{shown(source['name'], 100)}: {source['used']}{often}{prompt}")
    if len(facts["sources"]) > _LISTED:
        lines.append(f"and {len(facts['sources']) - _LISTED} more")
    if facts["epoch"] != facts["used"]:
        lines.append(f"an epoch shows {facts['epoch']} pictures")
    return [("" if i else "sources", line) for i, line in enumerate(lines)]


def _caption_lines(captions: dict[str, Any], used: int) -> list[tuple[str, str]]:
    if not captions["count"]:
        return [("captions", "none")]
    lines = [("captions", f"{captions['count']} of {used} pictures ({captions['count'] / used:.0%})")]
    for unit in ("characters", "words"):
        spread = captions[unit]
        lines.append(("", f"{spread['min']:g} to {spread['max']:g} {unit}, median {spread['median']:g}"))
    if missing := captions["missing"]:
        named = [shown(name, 100) for name in captions["without"][:_NAMED]]
        more = f" and {missing - len(named)} more" if missing > len(named) else ""
        lines.append(("", f"{missing} without: {', '.join(named)}{more}"))
    return lines


def _scaled(picture: Image.Image) -> Image.Image:
    """The picture as large as a cell allows; small ones keep their pixels as squares."""
    factor = _CELL / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)


def _labels(pictures: Pictures, i: int, font: _Font) -> list[str]:
    """Two lines at most: the class and the caption, or the caption alone, or else the name."""
    caption = shown(pictures.caption(i) or "", 1000)
    label = -1 if pictures.labels is None else int(pictures.labels[i])
    if label >= 0:
        return [_cut(shown(pictures.classes[label]), font), _cut(caption, font)]
    if not caption:
        return [_cut(shown(pictures.name(i)), font)]
    words = caption.split()
    first = words.pop(0)
    while words and font.getlength(f"{first} {words[0]}") <= _CELL:
        first += " " + words.pop(0)
    return [_cut(first, font), _cut(" ".join(words), font)]


def _cut(text: str, font: _Font) -> str:
    """As much of `text` as fits under a picture."""
    if font.getlength(text) <= _CELL:
        return text
    while text and font.getlength(text + "…") > _CELL:
        text = text[:-1]
    return text + "…"
