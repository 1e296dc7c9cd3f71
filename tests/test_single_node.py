"""A SQLite file belongs to one host: which nodes are too many, and the message about them."""

import pytest

from deployments.cluster.single_node import REMEDY, NodeMonitor, node_affinity, require_single_node
from deployments.settings import SettingsError

pytestmark = pytest.mark.anyio
HOME = "a" * 56


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def node(node_id: str, host: str, cpus: float = 8, *, alive: bool = True) -> dict[str, object]:
    return {
        "NodeID": node_id,
        "NodeManagerHostname": host,
        "NodeManagerAddress": "10.0.0.7",
        "Alive": alive,
        "Resources": {"CPU": cpus},
    }


def test_one_node_is_taken_and_so_are_dead_ones_and_a_head_that_holds_no_replica_beside_it():
    require_single_node(HOME, [node(HOME, "box"), node("b", "gone", alive=False), node("c", "head", cpus=0)])


def test_a_second_node_is_refused_by_its_name_and_with_the_way_out():
    with pytest.raises(SettingsError) as refused:
        require_single_node(HOME, [node(HOME, "box"), node("b", "other")])
    assert "other (10.0.0.7)" in str(refused.value)
    assert "box" not in str(refused.value)
    assert REMEDY in str(refused.value)


def test_only_with_sqlite_are_replicas_kept_on_their_node():
    assert node_affinity("sqlite:////data/ltx2.db", HOME) == {"label_selector": {"ray.io/node-id": HOME}}
    assert node_affinity("postgresql://db/ltx2", HOME) == {}


async def test_a_node_that_joins_is_said_once_in_the_log_and_as_long_as_it_is_there_in_the_notices(caplog):
    nodes = [node(HOME, "box")]
    watch = NodeMonitor(HOME, lambda: nodes)
    await watch.check_nodes()
    assert watch.notices == ()
    nodes.append(node("b", "other"))
    await watch.check_nodes()
    await watch.check_nodes()
    assert len(watch.notices) == 1
    assert "other (10.0.0.7)" in watch.notices[0]
    assert [record.getMessage() for record in caplog.records] == list(watch.notices)
    nodes.pop()
    await watch.check_nodes()
    assert watch.notices == ()


async def test_a_cluster_that_does_not_answer_leaves_what_was_seen(caplog):
    answers = [[node(HOME, "box"), node("b", "other")]]
    watch = NodeMonitor(HOME, answers.pop)
    await watch.check_nodes()
    seen = watch.notices
    await watch.check_nodes()
    assert watch.notices == seen != ()
    assert "could not be read" in caplog.text
