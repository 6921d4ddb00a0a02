"""Several processes that train one model together: how they are started, and how they talk. Imports no torch."""

from runner.processes.started import Started, alone, aloud, command, hush, started, starts_others, trains

__all__ = ["Started", "alone", "aloud", "command", "hush", "started", "starts_others", "trains"]
