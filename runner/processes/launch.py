"""Starts the processes of a run on this machine, by Accelerate's own launcher."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence

from accelerate.commands.launch import launch_command_parser, multi_gpu_launcher
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from runner.errors import Elsewhere, EnvironmentFault
from runner.processes.started import command

_PATIENCE = 24 * 3600  # seconds for the step under way and its checkpoint after a signal; a second one does not wait
_BY_SIGNAL = 128  # exit codes from here on
_HANGUP = getattr(signal, "SIGHUP", None)
_ENDING = (signal.SIGINT, signal.SIGTERM, _HANGUP)  # by which the launcher ends the others


def launch(argv: Sequence[str], processes: int) -> None:
    """Runs `recipe` with these arguments in so many processes, to their end.

    Accelerate's configuration file of this machine has no say: what it could set stands in the recipe.

    Raises:
        Elsewhere: they failed or were stopped, and have said why.
        EnvironmentFault: they were killed and could say nothing.
    """
    logging.disable(logging.CRITICAL)  # torch's launcher tells at length of what the processes say themselves
    python, *words = command(argv)
    threads = _threads(os.environ.get("OMP_NUM_THREADS", ""), processes)
    options = [f"--num_processes={processes}", "--num_machines=1", "--main_process_port=0"]  # any port that is free
    options += ["--mixed_precision=no", "--dynamo_backend=no", f"--num_cpu_threads_per_process={threads}"]
    arguments = launch_command_parser().parse_args([*options, "--no_python", python, *words])
    arguments.shutdown_timeout = _PATIENCE
    arguments.signals_to_handle = ",".join(_heard())
    try:
        multi_gpu_launcher(arguments)
    except SignalException as stopped:
        raise Elsewhere("stopped", 128 + stopped.sigval) from None
    except ChildFailedError as error:
        raise _told(list(error.failures.values())) from None


def _threads(asked: str, processes: int) -> int:
    """Each process's threads: never more than its share of the cores, for which they would wait in turn."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // processes)
    return min(int(asked), share) if asked.isdecimal() and int(asked) else share


def _heard() -> list[str]:
    """The signals that the launcher hands on: under nohup the terminal may go away."""
    ignored = _HANGUP is not None and signal.getsignal(_HANGUP) is signal.SIG_IGN
    return ["SIGTERM", "SIGINT", *([] if ignored or _HANGUP is None else ["SIGHUP"])]


def _told(failures: list[ProcessFailure]) -> Elsewhere | EnvironmentFault:
    """What is left to say: a process that has ended by itself has said why, unless it was for one that was killed."""
    codes = [failure.exitcode for failure in failures if failure.exitcode > 0]
    told = [code for code in codes if code < _BY_SIGNAL]
    killed = [failure for failure in failures if failure.exitcode < 0 and -failure.exitcode not in _ENDING]
    if told or (codes and not killed):
        return Elsewhere("failed", (told or codes)[0])
    names = ", ".join(sorted({failure.signal_name() for failure in killed or failures}))
    return EnvironmentFault(
        f"the processes of this run were killed ({names}; the machine may be out of memory): "
        "the same command goes on with it"
    )
