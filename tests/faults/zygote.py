"""A process that has imported all that a run needs, and forks a child for every command: no seconds of imports each.

Reads one JSON object a line (see `forks.Forks.start`), answers with the child's pid, and with its wait status once it
has ended. Children share what was imported: that a run goes on in truly fresh processes is what test_resume_everywhere
shows.
"""

import ctypes
import json
import os
import sys

import diffusers.schedulers  # noqa: F401 - imported for the children, as all below

import runner.job
import runner.plan
import runner.run
import runner.settle.settled
import runner.verbs  # noqa: F401
from runner.cli import main
from runner.models import family_class

for _family in ("pixel_unet", "stable_diffusion"):
    family_class(_family)


def _prepare(folder, log, how, number, at, where):
    texts = [None if text is None else text.encode() for text in (folder, where, log)]
    ctypes.CDLL(None).strike(*texts[:2], ctypes.c_long(at), how, number, texts[2])


def child(asked):
    """The command, with its words in a file and the strike prepared."""
    for number, file in enumerate((os.devnull, asked["said"], asked["said"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.chdir(asked["folder"])
    os.environ["XDG_CACHE_HOME"] = asked["cache"]
    _prepare(asked["folder"], asked["log"], **asked["strike"])
    code = main(asked["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        child(json.loads(line))
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
