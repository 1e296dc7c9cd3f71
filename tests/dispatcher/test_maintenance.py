"""Maintenance continues until nothing is left to do. It works in batches, and renews leases between them."""

import pytest

from deployments.dispatcher import maintenance
from deployments.dispatcher.leases import DispatcherId
from deployments.dispatcher.maintenance import Maintenance
from deployments.dispatcher.outcomes import OutcomeHandler
from deployments.settings import Settings
from models.errors import StoreUnavailable
from models.request.request import VideoRequest
from storage.db.engine import open_engine
from storage.outputs.local import LocalOutputStore
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, State
from tests.sqlite import new_sqlite

MODEL = "Lightricks/LTX-2"
LOT = 2
NEVER_S = 1e12


@pytest.fixture
def store(tmp_path):
    engine = open_engine(new_sqlite(tmp_path / "tasks.db"))
    store = SqlTaskStore(engine)
    yield store
    store.close()


@pytest.fixture
def keeper(store, tmp_path, monkeypatch) -> Maintenance:
    monkeypatch.setattr(maintenance, "BATCH_SIZE", LOT)
    monkeypatch.setattr(maintenance, "CHECK_INTERVAL_S", NEVER_S)  # only a step that reports more work runs again
    monkeypatch.setattr(maintenance, "ORPHAN_CHECK_S", NEVER_S)
    settings = Settings(unserved_model_timeout_s=0)
    outcomes = OutcomeHandler(settings.dispatcher, store, LocalOutputStore(tmp_path))
    return Maintenance(settings, DispatcherId.current(), MODEL, store, outcomes)


def submit(store: SqlTaskStore, model: str = MODEL, input_key: str | None = None, **fields: object) -> None:
    store.submit(NewTask(VideoRequest(prompt="a lighthouse", **fields), model, "http://box", input_key=input_key))


@pytest.mark.parametrize(
    "late", [{"model": "gone"}, {"timeout_s": 1e-6}], ids=["nobody serves their model", "their deadline is over"]
)
@pytest.mark.anyio
async def test_many_that_have_to_end_end_one_lot_after_the_other(late, keeper, store):
    for _ in range(2 * LOT + 1):
        submit(store, **late)
    submit(store)
    left = []
    for _ in range(4):
        left.append(store.counts()[State.QUEUED] - 1)
        await keeper.run_due()
    assert left == [5, 3, 1, 0]


class AwayStore(LocalOutputStore):
    """Does not answer, and counts the calls: each one is a wait."""

    asked = 0

    def delete(self, _key: str) -> None:
        self.asked += 1
        raise StoreUnavailable("no answer")


@pytest.mark.parametrize(
    "late", [{"model": "gone"}, {"timeout_s": 1e-6}], ids=["nobody serves their model", "their deadline is over"]
)
@pytest.mark.anyio
async def test_an_output_store_that_is_away_is_waited_for_once_a_lot(late, keeper, store, tmp_path):
    """With one wait per image, the leases of running tasks would lapse meanwhile."""
    away = AwayStore(tmp_path)
    keeper._outcomes._outputs = away
    for number in range(LOT):
        submit(store, input_key=f"inputs/{number}", **late)
    await keeper.run_due()
    assert store.counts()[State.QUEUED] == 0
    assert away.asked == 1


@pytest.mark.anyio
async def test_a_claimant_whose_name_another_version_wrote_is_left_to_its_lease(keeper, store):
    submit(store)
    (held,) = store.claim("a name of tomorrow", MODEL, 1, 60)
    await keeper.run_due()
    assert store.list_dispatchers() == ["a name of tomorrow"]
    store.renew_leases("a name of tomorrow", -1)
    keeper._looked_at = -NEVER_S
    await keeper.run_due()
    assert store.list_dispatchers() == []
    assert store.get(held.id).requeues == 1
