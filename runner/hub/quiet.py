"""The hub's own library shows nothing of its own accord: the display is ours."""

import logging

from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
from huggingface_hub.utils import logging as hub_logging


def quiet() -> None:
    """Switch off the progress bars and log lines of huggingface_hub."""
    disable_progress_bars()
    hub_logging.set_verbosity(logging.CRITICAL + 1)
