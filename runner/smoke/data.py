"""The data of a rehearsal: the built-in flowers, shown by the recipe's own choices."""

from __future__ import annotations

from typing import Any

from runner.language.resolve import fill
from runner.language.schemas import Place, read

_PICTURES = 24
_SCHEMA = "data/builtin.json"
_CALLED = ("type", "num_images", "label_by", "resolution", "caption")


def toy_data(data: dict[str, Any], resolution: int) -> dict[str, Any]:
    """A `data` section of few pictures, with every key of the recipe's own that built-in pictures have."""
    known = fill([Place(_SCHEMA, read(_SCHEMA))], {})
    kept = {key: value for key, value in data.items() if key in read(_SCHEMA)["properties"] and key not in _CALLED}
    small = known | kept | {"type": "builtin", "num_images": _PICTURES, "label_by": "kind", "resolution": resolution}
    if "prior" in small:
        small["prior"] |= {"num_images": 2, "num_inference_steps": 2}
    if "aspect_ratio_buckets" in small:
        small["aspect_ratio_buckets"] |= {"step": min(resolution, small["aspect_ratio_buckets"]["step"])}
    return small
