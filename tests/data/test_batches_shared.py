"""A step's samples, shared out among processes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.data.batches import Work
from tests.data.toy_batches import batches

COUNTS = st.integers(1, 9)


@given(samples=st.integers(1, 90), size=COUNTS, accumulation=COUNTS, processes=COUNTS)
def test_each_sample_is_learned_from_once_and_nobody_stays_away(samples, size, accumulation, processes):
    whole = Work(samples, size, accumulation)
    shares = [whole.shared(rank, processes) for rank in range(processes)]
    for step in range(whole.steps):
        parts = [share.micro_batches(step) for share in shares]
        assert [number for part in parts for numbers in part for number in numbers] == list(whole.of_step(step))
        assert len({len(part) for part in parts}) == 1 and parts[0]
        assert all(len(numbers) <= size for part in parts for numbers in part)
        held = [sum(map(len, part)) for part in parts]
        assert max(held) - min(held) <= 1
        for numbers in (numbers for part in parts for numbers in part if numbers):
            assert numbers.start // size == numbers[-1] // size  # pictures of one size stay together


@given(samples=st.integers(1, 90), size=COUNTS, accumulation=COUNTS)
def test_one_process_has_it_all(samples, size, accumulation):
    work = Work(samples, size, accumulation)
    for step in range(work.steps):
        cut = [list(numbers) for numbers in work.micro_batches(step)]
        assert cut == [list(work.of_step(step))[a : a + size] for a in range(0, len(work.of_step(step)), size)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_mean_of_the_processes_is_the_mean_of_the_samples(processes):
    work, seen = Work(10, 4, 1), {}
    for rank in range(processes):
        for step, parts in enumerate(batches(work.shared(rank, processes)).from_step(0)):
            assert len(parts) >= 1
            seen.setdefault(step, []).append(sum(batch.weight.sum() for batch in parts) / processes)
    for weights in seen.values():
        torch.testing.assert_close(sum(weights), torch.tensor(1.0))
