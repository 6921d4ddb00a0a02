"""Signals, where Python cannot see them for a while."""

import signal
import subprocess
import sys

import pytest

LONG = """
import hashlib, sys
from runner.signals import Stop
with Stop("the same command goes on"):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)  # an hour without a look at signals, as in a large convolution
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_long_operation(number):
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stderr.readline() == "\n"
            assert "a second signal ends the run at once" in process.stderr.readline()
            process.send_signal(number)
            assert process.wait(60) == 128 + number
        finally:
            process.kill()
