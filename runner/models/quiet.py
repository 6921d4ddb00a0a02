"""The libraries that load models show nothing of their own accord: the display is ours."""

import diffusers
import transformers


def quiet() -> None:
    """Switch off the progress bars and warnings of diffusers and transformers."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
