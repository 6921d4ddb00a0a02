"""Which columns of a data set are the picture, its caption and its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import ClassLabel, Image, Value

from runner.errors import DataError
from runner.shown import shown

Features = Mapping[str, Any]


def image_column(features: Features, asked: str | None) -> str:
    """The column of pictures: the one asked for, else the only one.

    Raises:
        DataError: none, several, or one that holds no pictures.
    """
    if asked is not None:
        _require(features, asked, "image_column")
        if not _holds_pictures(features[asked]):
            raise DataError(f"data.image_column '{shown(asked)}' holds {_kind(features[asked])}, not pictures")
        return asked
    columns = [name for name, feature in features.items() if isinstance(feature, Image)]
    columns = columns or [name for name, feature in features.items() if _holds_pictures(feature)]
    if not columns:
        raise DataError(f"the data set has no column of pictures: it has {_listed(features)}")
    if len(columns) > 1:
        raise DataError(
            f"the data set has {len(columns)} columns of pictures: set data.image_column to one of {_listed(columns)}"
        )
    return columns[0]


def caption_column(features: Features, asked: str | None) -> str | None:
    """The column of captions, if one is asked for.

    Raises:
        DataError: not there, or not of text.
    """
    if asked is None:
        return None
    _require(features, asked, "caption_column")
    feature = features[asked]
    if not (isinstance(feature, Value) and feature.dtype in ("string", "large_string")):
        texts = [name for name, f in features.items() if isinstance(f, Value) and "string" in f.dtype]
        raise DataError(
            f"data.caption_column '{shown(asked)}' holds {_kind(feature)}, not text: "
            f"the columns of text are {_listed(texts) or 'none'}"
        )
    return asked


def label_column(features: Features, asked: str | None) -> str | None:
    """The column of classes: the one asked for, else the only ClassLabel column, else None.

    Raises:
        DataError: not there, or values that cannot be classes.
    """
    if asked is None:
        columns = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
        return columns[0] if len(columns) == 1 else None
    _require(features, asked, "label_column")
    feature = features[asked]
    simple = isinstance(feature, Value) and (
        "string" in feature.dtype or "int" in feature.dtype or feature.dtype == "bool"
    )
    if not simple and not isinstance(feature, ClassLabel):
        raise DataError(f"data.label_column '{shown(asked)}' holds {_kind(feature)}, which are no classes")
    return asked


def _holds_pictures(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return "bytes" in feature
    return isinstance(feature, Image) or (isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"))


def _require(features: Features, column: str, key: str) -> None:
    if column not in features:
        raise DataError(f"data.{key} '{shown(column)}' is not there: the data set has {_listed(features)}")


def _kind(feature: Any) -> str:
    if isinstance(feature, Value):
        return f"values of type {feature.dtype}"
    return f"values of type {shown(type(feature).__name__)}"


def _listed(names: Any) -> str:
    return ", ".join(shown(name, 60) for name in names)
