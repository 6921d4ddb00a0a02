"""The libraries that load models show nothing of their own accord: the display is ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers


def quiet() -> None:
    """Switch off the progress bars and warnings of diffusers and transformers."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


@contextmanager
def silent() -> Iterator[None]:
    """A context in which diffusers logs nothing at all, not even errors: what it raises is said by us."""
    before = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity(logging.CRITICAL + 1)
    try:
        yield
    finally:
        diffusers.utils.logging.set_verbosity(before)
