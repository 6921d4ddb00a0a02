"""The data of a rehearsal: the built-in flowers, shown by the recipe's own choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.language.resolve import fill
from runner.language.schemas import Place, read

_PICTURES = 24
_SCHEMA = "data/builtin.json"
_OWN = ("type", "num_images", "label_by", "resolution")


def toy_data(data: dict[str, Any], resolution: int, scratch: Path) -> dict[str, Any]:
    """A `data` section of few pictures, with every key of the recipe's own that built-in pictures have.

    Args:
        data: the recipe's own section.
        resolution: of the pictures.
        scratch: a folder for a toy that writes captions.
    """
    known = fill([Place(_SCHEMA, read(_SCHEMA))], {})
    kept = {key: value for key, value in data.items() if key in read(_SCHEMA)["properties"] and key not in _OWN}
    small = known | kept | {"type": "builtin", "num_images": _PICTURES, "label_by": "kind", "resolution": resolution}
    if "prior" in small:
        small["prior"] |= {"num_images": 2, "num_inference_steps": 2}
    if "caption" in small:
        from runner.captioning.toy import toy

        toy(scratch / "captioner")
        # Built-in pictures have captions, and rehearsing is writing new ones.
        small["caption"] |= {"id": str(scratch / "captioner"), "revision": None, "overwrite": True, "max_new_tokens": 4}
    if "aspect_ratio_buckets" in small:
        small["aspect_ratio_buckets"] |= {"step": min(resolution, small["aspect_ratio_buckets"]["step"])}
    return small
