"""A worker's pod ends after its replicas have ended, not before: the command that Kubernetes runs in preStop."""

import itertools
import subprocess
from collections.abc import Iterator

import pytest

from deployments.cli import drain_node
from deployments.cli.drain_node import (
    MAX_HEAD_FAILURES,
    REPLICA,
    NodeDrain,
    is_head_reachable,
    list_process_names,
    node_option,
)
from tests.ports import free_port

GENERATOR = f"{REPLICA}:ltx2:Generator.generate"
RAYLET = "/site-packages/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/ray/session/sockets/raylet"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_node, "CHECK_INTERVAL_S", 0.0)


def leaving(*looks: list[str], answers: Iterator[bool] | None = None, seconds: float = 60) -> NodeDrain:
    """A node with these processes, one list per check. The last list is repeated."""
    remaining = list(looks)
    return NodeDrain(
        lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0],
        lambda: next(answers) if answers is not None else True,
        seconds,
    )


def test_a_node_on_which_nothing_runs_may_go_at_once() -> None:
    assert leaving(["ray::RuntimeEnvAgent", "sleep 5"]).wait_for_node_to_end()


def test_a_node_goes_when_its_raylet_has_ended_after_its_last_replica() -> None:
    """Between the two, another node fetches the last clip from its object store."""
    looks = iter([[GENERATOR, RAYLET], [RAYLET], [RAYLET], ["sh"], ["sh"], [GENERATOR]])
    assert NodeDrain(lambda: next(looks), lambda: True, 60).wait_for_node_to_end()
    assert next(looks) == [GENERATOR], "it looked no more"


def test_a_raylet_that_does_not_end_loses_nothing_but_the_time() -> None:
    assert leaving([RAYLET], seconds=0).wait_for_node_to_end()


def test_a_replica_that_does_not_end_is_left_behind_in_the_end() -> None:
    assert not leaving([GENERATOR, RAYLET], seconds=0).wait_for_node_to_end()


def test_nobody_waits_for_a_cluster_that_is_gone() -> None:
    looks = itertools.count()
    departure = NodeDrain(lambda: [GENERATOR] if next(looks) >= 0 else [], lambda: False, 600)
    assert not departure.wait_for_node_to_end()
    assert next(looks) == MAX_HEAD_FAILURES + 1


def test_a_head_that_is_silent_for_a_moment_is_waited_for() -> None:
    answers = iter([*[False] * (MAX_HEAD_FAILURES - 1), True] * 2)
    assert leaving(*[[GENERATOR]] * (2 * MAX_HEAD_FAILURES), [], answers=answers, seconds=600).wait_for_node_to_end()


def test_a_drain_is_asked_for_until_it_is_granted() -> None:
    """The head is unavailable, then it comes back and refuses once."""
    answers, grants = iter([False, False, True, True]), iter([False, True])
    assert leaving([GENERATOR], answers=answers, seconds=600).request_drain(lambda _seconds: next(grants))


def test_a_node_that_ray_has_ended_itself_is_not_drained_again() -> None:
    """Ray's autoscaler v2 ends a node before it deletes the pod. Ray then grants no drain, during all of the 900 s."""
    assert leaving([RAYLET], ["ray start --block"], seconds=600).request_drain(lambda _seconds: False)


@pytest.mark.parametrize(("head", "seconds"), [(True, 0), (False, 600)])
def test_a_drain_that_is_not_granted_in_time_or_has_no_head_to_ask_is_given_up(head: bool, seconds: float) -> None:
    assert not leaving([GENERATOR], answers=itertools.repeat(head), seconds=seconds).request_drain(
        lambda _seconds: False
    )


@pytest.mark.parametrize(("seconds", "least", "most"), [((900,), 890, 900), ((75, 15), 15, 15), ((10, 15), 5, 10)])
def test_ray_is_told_how_long_the_drain_may_take(seconds: tuple[int, ...], least: int, most: int) -> None:
    told: list[int] = []

    def drain(seconds: int) -> bool:
        told.append(seconds)
        return True

    assert NodeDrain(lambda: [RAYLET], lambda: True, *seconds).request_drain(drain)
    assert least <= told[0] <= most


def test_ray_is_told_which_node_it_is_if_a_raylet_says_so() -> None:
    assert node_option(["ray::Replica --node_id=12", f"{RAYLET} --node_id=ad9b --temp_dir=/tmp/ray"]) == [
        "--node-id=ad9b"
    ]
    assert node_option([RAYLET, "sh"]) == []


def test_a_replica_is_known_by_the_name_of_its_process() -> None:
    with subprocess.Popen([GENERATOR, "60"], executable="/bin/sleep") as replica:
        try:
            assert f"{GENERATOR} 60" in list_process_names()
        finally:
            replica.kill()


def test_the_head_is_looked_for_where_kuberay_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    assert not is_head_reachable()
