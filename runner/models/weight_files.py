"""Which files hold the weights of a part: plain or of a variant, whole or in shards, safetensors or pickle."""

from __future__ import annotations

import re

from runner.errors import ModelError, Refused
from runner.models.classes import Kind
from runner.models.files import Files
from runner.models.weights import check_pickle
from runner.shown import shown

_VARIANT = re.compile(r"\.([^./]+?)(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)$")


def weight_files(
    files: Files, folder: str, kind: Kind, variant: str | None, allow_pickle: bool
) -> tuple[list[str], str | None]:
    """The weight files of a part, and the variant that they are.

    Raises:
        ModelError: there are none, or none of that variant.
        Refused: only pickles are there and they are not allowed; an index names files elsewhere.
    """
    there = _variants(files, folder, kind)
    if variant is not None and variant not in there:
        everywhere = {found for name in files.sizes for found in _variant_of(name)}
        if variant not in everywhere:
            known = ", ".join(map(shown, sorted(everywhere))) or "none"
            raise ModelError(
                f"{shown(files.origin)} has no variant {shown(variant)}: it has {known} beside the plain weights, "
                "correct model.variant"
            )
        variant = None
    for stem, suffix in ((kind.safe, "safetensors"), (kind.pickled, "bin")):
        names = _named(files, folder, f"{stem}.{suffix}", variant)
        if names and suffix == "bin":
            check_pickle(f"{files.title(names[0])} holds the weights only as pickle", allow_pickle)
        if names:
            return names, variant
    if there:
        known = ", ".join(sorted(there))
        raise ModelError(f"{files.title(folder)} has weights only as variant {shown(known)}: write model.variant")
    raise files.lacks(inside(folder, f"{kind.safe}.safetensors"))


def _named(files: Files, folder: str, plain: str, variant: str | None) -> list[str]:
    """A weight file, or the index and all shards of a sharded one; none where neither is there."""
    stem, suffix = plain.rsplit(".", 1)
    mark = f".{variant}" if variant else ""
    single = inside(folder, f"{stem}{mark}.{suffix}")
    if single in files.sizes:
        return [single]
    index = inside(folder, f"{plain}.index{mark}.json")
    if index not in files.sizes:
        return []
    found = files.json(index)
    placed = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(shard, str) for shard in placed.values()):
        raise ModelError(f"{files.title(index)} is no index of shards: get the file again")
    shards = sorted(set(placed.values()))
    for shard in shards:
        if "/" in shard or "\\" in shard or not shard.endswith(f".{suffix}"):
            raise Refused(f"{files.title(index)} names {shown(shard)}: a shard lies beside its index")
        if inside(folder, shard) not in files.sizes:
            raise files.lacks(inside(folder, shard))
    return [index, *(inside(folder, shard) for shard in shards)]


def _variants(files: Files, folder: str, kind: Kind) -> set[str]:
    begins = tuple(inside(folder, f"{stem}.") for stem in (kind.safe, kind.pickled))
    return {found for name in files.sizes if name.startswith(begins) for found in _variant_of(name)}


def _variant_of(name: str) -> list[str]:
    stem = name.rsplit("/", 1)[-1]
    match = _VARIANT.search(stem) if stem.startswith(("diffusion_pytorch_model.", "model.", "pytorch_model.")) else None
    return [match[1]] if match else []


def inside(folder: str, name: str) -> str:
    """The name of a file of a folder, '' for the root."""
    return f"{folder}/{name}" if folder else name
