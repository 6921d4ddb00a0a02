"""Captions: an image-to-text model of transformers writes them for the pictures that lack one."""

from runner.captioning.captioned import Captioned
from runner.captioning.captions import Around, caption
from runner.captioning.model import CaptionFacts, inspect

__all__ = ["Around", "CaptionFacts", "Captioned", "caption", "inspect"]
