"""What a data set's card (the head of its README.md) may say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.errors import DataError, Refused
from runner.shown import shown


def check_card(id: str, card: Mapping[str, Any], config: str | None, names: set[str]) -> None:
    """Refuse what would run code or read elsewhere, before the datasets library follows it.

    Args:
        id: the data set.
        card: the head of its README.md.
        config: the configuration asked for.
        names: its files.

    Raises:
        Refused: data files named outside the data set.
        DataError: a loading script, or a configuration that is not there.
    """
    script = f"{id.split('/')[-1]}.py"
    if script in names:
        raise DataError(
            f"data set {shown(id)} is a script ({shown(script)}), and scripts are not run: use a data set of parquet "
            "files; the hub often keeps one in its branch refs/convert/parquet (data.revision)"
        )
    if ".huggingface.yaml" in names:
        raise Refused(f"data set {shown(id)} has a .huggingface.yaml, which is not read: use one with a README only")
    configs = [c for c in card.get("configs") or [] if isinstance(c, dict)]
    for text in _texts([(c.get("data_files"), c.get("data_dir")) for c in configs]):
        if "://" in text or "::" in text or text.startswith("/") or ".." in text.split("/"):
            raise Refused(f"the card of data set {shown(id)} names a file outside itself: {shown(text)}")
    known = [str(c.get("config_name", "default")) for c in configs]
    standard = len(known) < 2 or "default" in known or any(c.get("default") for c in configs)
    if known and (config not in known if config is not None else not standard):
        raise DataError(f"data set {shown(id)} has the configurations {_listed(known)}: set data.config to one of them")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(shown(name, 60) for name in names)
