"""Processes as a launcher starts them, forked from this one, which has imported all that they need."""

import os
from contextlib import contextmanager
from functools import partial

from accelerate.state import AcceleratorState
from torch.distributed import TCPStore

from tests.processes import Forked


@contextmanager
def crew(folder, count, *argv, work=None, before=None):
    """As many processes, each of which runs a command, or `work`; `before` is called in each with its rank."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # the launcher's, which outlives them all
    processes = []
    try:
        for rank in range(count):
            said = folder.with_name(f"{folder.name}.said-{rank}")
            ready = partial(_ready, rank, count, store.port, work, before)
            processes.append(Forked(folder, said, *argv, work=ready))
        yield processes
    finally:
        for process in processes:
            process.kill()


def ends(folder, count, *argv, **options):
    """Exit codes and what was said, of all."""
    with crew(folder, count, *argv, **options) as processes:
        codes = [process.wait() for process in processes]
        return codes, [process.said for process in processes]


def _ready(rank, count, port, work, before, *argv):
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({key: str(value) for key, value in (ranks | place).items()})
    AcceleratorState._reset_state(reset_partial_state=True)  # of runs that this process has had
    if before is not None:
        before(rank)
    if work is not None:
        return work(*argv)
    from runner.cli import main

    return main([str(word) for word in argv])
