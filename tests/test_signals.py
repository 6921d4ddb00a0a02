"""Signals, where Python cannot see them for a while."""

import os
import signal
import subprocess
import sys
import time

import pytest

from runner.errors import Interrupted
from runner.processes.voice import one_voice
from runner.processes.world import World
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
def test_a_signal_that_other_code_makes_a_fault_of_its_own_of_still_stops_the_run():
    world = World()
    with Stop("the same command goes on") as world.stop, pytest.raises(Interrupted) as caught, one_voice(world):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Interrupted:
            raise RuntimeError("could not determine the shape of an object") from None
    assert str(caught.value) == "stopped: the same command goes on"
    assert caught.value.exit_code == 143


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_fails_after_a_signal_that_was_only_noted_is_told():
    world = World()
    running = Stop("the same command goes on")
    with running as world.stop, pytest.raises(OSError, match="disk"), one_voice(world), world.stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("the disk is full")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop("the same command goes on") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)
