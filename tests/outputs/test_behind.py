"""Files written behind the maker's back, in order and all of them."""

import threading

import pytest

from runner.outputs.behind import behind


def test_the_maker_goes_on_and_all_is_written_in_order():
    gate, done = threading.Event(), []
    with behind() as write:
        for i in range(10):
            write(lambda i=i: (gate.wait(10), done.append(i)))
        assert done == []
        gate.set()
    assert done == list(range(10))


def test_what_fails_stops_the_maker_and_the_rest_is_written():
    gate, done = threading.Event(), []

    def full():
        gate.wait(10)
        raise OSError("full")

    with pytest.raises(OSError, match="full"), behind() as write:
        write(full)
        write(done.append, 1)
        gate.set()
    assert done == [1]


def test_a_maker_that_fails_leaves_nothing_unwritten():
    done = []
    with pytest.raises(KeyboardInterrupt), behind() as write:
        for i in range(5):
            write(done.append, i)
        raise KeyboardInterrupt
    assert done == [0, 1, 2, 3, 4]


def test_only_so_many_wait():
    """A slow disk holds the maker up rather than filling the memory."""
    gate, waiting, ended = threading.Event(), [], threading.Event()

    def make():
        with behind() as write:
            for i in range(100):
                write(gate.wait, 10)
                waiting.append(i)
        ended.set()

    maker = threading.Thread(target=make)
    maker.start()
    maker.join(1)
    held = len(waiting)
    gate.set()
    assert ended.wait(10)
    assert held < 100 == len(waiting)
