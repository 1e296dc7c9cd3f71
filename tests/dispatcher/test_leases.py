"""Leases: a dead Dispatcher is detected at once, a live one keeps its tasks, and a suspend takes no task from any."""

import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from deployments.dispatcher import leases
from deployments.dispatcher.leases import DispatcherId, LeaseTimer

ME = DispatcherId.current()


def test_a_name_is_read_back_from_its_row():
    parsed = DispatcherId.parse(str(ME))
    assert str(parsed) == str(ME)
    assert not parsed.is_dead(one_host=True)


def test_a_living_process_is_not_dead():
    assert not ME.is_dead(one_host=True)
    assert not ME.is_dead(one_host=False)


def test_an_ended_process_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = replace(ME, pid=child.pid, started_at=psutil.Process(child.pid).create_time())
    assert not name.is_dead(one_host=False)
    child.communicate()
    assert name.is_dead(one_host=False)


def test_another_process_with_the_same_number_is_not_it():
    assert replace(ME, started_at=ME.started_at - 60).is_dead(one_host=False)


def test_a_clock_that_was_set_kills_nobody():
    assert not replace(ME, started_at=ME.started_at + 2).is_dead(one_host=True)


def test_other_hosts_and_boots_are_dead_only_to_a_database_of_one_host():
    for other in (replace(ME, host="elsewhere"), replace(ME, boot="before")):
        assert other.is_dead(one_host=True)
        assert not other.is_dead(one_host=False)


class Clock:
    """A clock that the test moves, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


def test_a_lease_is_renewed_in_good_time(clock: Clock) -> None:
    timer = LeaseTimer(30)
    clock.now += 9
    assert not timer.should_renew()
    clock.now += 2
    assert timer.should_renew()
    timer.mark_renewed()
    assert not timer.should_renew()
    assert timer.may_reclaim()


def test_after_a_gap_nothing_is_taken_from_others_for_one_lease(clock: Clock) -> None:
    timer = LeaseTimer(30)
    clock.now += 25
    timer.mark_renewed()
    clock.now += 29
    assert not timer.may_reclaim()
    clock.now += 1
    assert timer.may_reclaim()
