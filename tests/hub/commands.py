"""Runs commands in one process, asked by JSON lines: the hub's libraries read their address when they are imported."""

import contextlib
import io
import json
import sys

from runner.cli import main


def run(arguments):
    """The exit code of a command, with what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    answers = [run(arguments) for arguments in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(answers))
