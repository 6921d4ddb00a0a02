"""Signals, where Python cannot see them for a while."""

import os
import signal
import subprocess
import sys

import pytest

from runner.errors import Interrupted
from runner.signals import Stop

LONG = """
import hashlib, threading
from runner.signals import Stop
with Stop("the same command goes on"):
    threading.Timer(0.5, print, ["ready"], {"flush": True}).start()  # once the hour has begun
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


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_terminal_that_goes_away_ends_the_step_first_however_often_it_is_said():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may themselves run under nohup
    with Stop("the same command goes on") as stop:
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Interrupted, match="stopped at step 3: the same command") as caught:
            stop.check("at step 3")
    signal.signal(signal.SIGHUP, before)
    assert caught.value.exit_code == 128 + signal.SIGHUP


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop("the same command goes on") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)
