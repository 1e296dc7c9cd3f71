"""Promise: one task runs at a time. The next task wakes a sleeping model, and never waits long for it."""

import threading
from collections.abc import Iterator

import pytest

from deployments.generator.gpu_lock import GpuLock, HasWaiters

LONG_S = 60.0
"""Longer than any test waits, unless it fails."""


class SleepRecorder:
    """A sleep that continues until the test ends it or a task waits for the lock."""

    def __init__(self) -> None:
        self.sleeps = threading.Semaphore(0)
        self.count = 0
        self.was_wanted = False
        self.go_on = threading.Event()

    def fall_asleep(self, wanted: HasWaiters) -> None:
        self.count += 1
        self.sleeps.release()
        while not self.go_on.wait(0.01):
            if wanted():
                self.was_wanted = True
                return


@pytest.fixture
def bed() -> Iterator[SleepRecorder]:
    bed = SleepRecorder()
    yield bed
    bed.go_on.set()


def test_only_one_has_the_turn(bed: SleepRecorder) -> None:
    turns = GpuLock(None, bed.fall_asleep)
    with turns.acquire():
        other = threading.Thread(target=lambda: turns.acquire().__enter__(), daemon=True)
        other.start()
        while not turns.has_waiters():
            pass
        assert other.is_alive()
    other.join(LONG_S)
    assert not other.is_alive()


def test_before_the_first_task_nothing_falls_asleep(bed: SleepRecorder) -> None:
    turns = GpuLock(0, bed.fall_asleep)
    with turns.acquire():
        assert bed.count == 0
    turns.close()


def test_it_falls_asleep_once_after_each_busy_time(bed: SleepRecorder) -> None:
    bed.go_on.set()
    turns = GpuLock(0, bed.fall_asleep)
    for count in (1, 2):
        with turns.acquire():
            pass
        assert bed.sleeps.acquire(timeout=LONG_S)
        assert bed.count == count
    turns.close()


def test_a_task_that_comes_meanwhile_is_heard_of(bed: SleepRecorder) -> None:
    turns = GpuLock(0, bed.fall_asleep)
    with turns.acquire():
        pass
    assert bed.sleeps.acquire(timeout=LONG_S)
    with turns.acquire():
        assert bed.was_wanted
    turns.close()


def test_it_never_falls_asleep_where_that_is_off(bed: SleepRecorder) -> None:
    before = threading.active_count()
    turns = GpuLock(None, bed.fall_asleep)
    with turns.acquire():
        pass
    assert threading.active_count() == before
    assert bed.count == 0


def test_after_its_end_it_stays_awake(bed: SleepRecorder) -> None:
    turns = GpuLock(LONG_S, bed.fall_asleep)
    with turns.acquire():
        pass
    turns.close()
    for thread in threading.enumerate():
        if thread.name == "sleeper":
            thread.join(LONG_S)
            assert not thread.is_alive()
    assert bed.count == 0
