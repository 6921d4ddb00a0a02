"""Commands in processes of their own, forked from this one, which has imported all that they need."""

import os
import resource
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import psutil

from runner.cli import main


class Forked:
    """A command that runs.

    Args:
        folder: its working directory.
        said: the file for all that it says.
        memory: the most bytes that it may address beyond what this process does; None for no limit.
        work: what it does instead of the command: a function of these words, which returns an exit code.
    """

    def __init__(self, folder, said, *argv, memory=None, work=None):
        self._said, self._status = Path(said), None
        self.pid = os.fork()
        if self.pid == 0:
            _child(folder, said, argv, memory, work or _command)

    @property
    def said(self):
        return self._said.read_text()

    def poll(self):
        """The exit code, negative for a signal; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def wait(self):
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        return self.poll()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Ends it at once, if it still runs."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()

    def wait_for(self, path):
        """Until it has made this file or folder."""
        while not path.exists():
            assert self.poll() is None, self.said
            time.sleep(0.02)


@contextmanager
def forked(folder, *argv, memory=None):
    """A command that does not outlive the block."""
    process = Forked(folder, folder.with_name(f"{folder.name}.said"), *argv, memory=memory)
    try:
        yield process
    finally:
        process.kill()


def _command(*argv):
    return main([str(word) for word in argv])


def _child(folder, said, argv, memory, work):
    code = 99
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(folder)
        if memory is not None:
            limit = psutil.Process().memory_info().vms + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        code = work(*argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(code)
