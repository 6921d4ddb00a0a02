"""Captions: an image-to-text model of transformers writes them for the pictures that lack one."""

from runner.captioning.captioned import Captioned
from runner.captioning.captions import caption
from runner.captioning.model import CaptionFacts, inspect

__all__ = ["CaptionFacts", "Captioned", "caption", "inspect"]
