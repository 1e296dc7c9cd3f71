"""A worker's pod goes when its replicas have ended, and not before: what Kubernetes runs ahead of the end."""

import subprocess
from collections.abc import Iterator

import pytest

from deployments import leave
from deployments.leave import MOST_SILENT, REPLICA, head_answers, process_names, wait_for_end
from tests.ports import free_port

GENERATOR = f"{REPLICA}:ltx2:Generator.generate"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave, "LOOK_EVERY_S", 0.0)


def test_a_node_without_replicas_may_go_at_once() -> None:
    assert wait_for_end(lambda: ["ray::RuntimeEnvAgent", "sleep 5"], lambda: True, 60)


def test_a_node_goes_when_its_last_replica_has_ended() -> None:
    looks: Iterator[list[str]] = iter([[GENERATOR, "sh"], [GENERATOR], ["sh"], [GENERATOR]])
    assert wait_for_end(lambda: next(looks), lambda: True, 60)
    assert next(looks) == [GENERATOR], "it looked no more"


def test_a_replica_that_does_not_end_is_left_behind_in_the_end() -> None:
    assert not wait_for_end(lambda: [GENERATOR], lambda: True, 0)


def test_nobody_waits_for_a_cluster_that_is_gone() -> None:
    looks = iter(range(10 * MOST_SILENT))
    assert not wait_for_end(lambda: [GENERATOR] if next(looks) >= 0 else [], lambda: False, 600)
    assert next(looks) == MOST_SILENT + 1


def test_a_head_that_is_silent_for_a_moment_is_waited_for() -> None:
    answers = iter([*[False] * MOST_SILENT, True] * 2)
    looks = iter([*[[GENERATOR]] * (2 * MOST_SILENT + 2), []])
    assert wait_for_end(lambda: next(looks), lambda: next(answers), 600)


def test_a_replica_is_known_by_the_name_of_its_process() -> None:
    with subprocess.Popen([GENERATOR, "60"], executable="/bin/sleep") as replica:
        try:
            assert f"{GENERATOR} 60" in process_names()
        finally:
            replica.kill()


def test_the_head_is_looked_for_where_kuberay_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    assert not head_answers()
