"""How torch's CPU threads wait, and who may decide it."""

import os

import pytest

from models.startup.openmp import WAITING, set_waiting


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.setenv(name, "")  # so that what is set is undone
        monkeypatch.delenv(name)


def test_threads_spin_for_a_short_time_and_then_sleep() -> None:
    set_waiting()
    assert WAITING.items() <= os.environ.items()


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "5")])
def test_what_the_user_has_set_is_kept(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    set_waiting()
    assert {each: os.environ[each] for each in WAITING if each in os.environ} == {name: value}
