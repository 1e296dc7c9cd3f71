"""The contract of the outbox: every end of a task leaves a message, and every message has one sender at a time."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import event, select, text, update

from models.errors import StoreUnavailable
from storage.db.engine import open_engine
from storage.db.schema import tasks, webhook_deliveries
from storage.sql.retention import SqlRetentionStore
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, State, Task
from storage.webhooks import Delivery, DeliveryGroup, DeliveryState, DeliveryStatus
from tests.storage.test_task_store import FAILURE, LEASE_S, OUTPUT, claim_one, new_task

URL = "https://hooks.example/ended"
HOUR_S = 3600.0


def submit_with(store: SqlTaskStore, url: str | None = URL, owner: str = ANONYMOUS, **fields: object) -> Task:
    return store.submit(replace(new_task(webhook_url=url, **fields), owner=owner))


def running(store: SqlTaskStore, url: str | None = URL, owner: str = ANONYMOUS) -> Task:
    submit_with(store, url, owner)
    task = claim_one(store)
    assert store.start_run(task)
    return task


def completed(store: SqlTaskStore, url: str | None = URL, owner: str = ANONYMOUS) -> Task:
    task = running(store, url, owner)
    assert store.complete(task, OUTPUT)
    return task


def claim_all(store: SqlTaskStore, now: float | None = None) -> list[Delivery]:
    """Claim the oldest message of each delivery group."""
    now = time.time() if now is None else now
    return store.claim_webhooks([due.sequence for due in store.due_webhooks(now)], now, LEASE_S)


def standing(store: SqlTaskStore, task: Task) -> DeliveryStatus:
    return store.webhooks_of([task.id])[task.id]


def end_in_queue(store: SqlTaskStore) -> None:
    assert store.cancel(submit_with(store).id)


def end_while_running(store: SqlTaskStore) -> None:
    assert store.cancel(running(store).id)


def end_with_failure(store: SqlTaskStore) -> None:
    assert store.fail(running(store), FAILURE)


def end_unserved(store: SqlTaskStore) -> None:
    submit_with(store)
    assert store.fail_unserved("another/model", -1.0)


def end_overdue(store: SqlTaskStore) -> None:
    task = submit_with(store, timeout_s=1)
    with store._engine.begin() as connection:
        connection.execute(update(tasks).where(tasks.c.id == task.id).values(deadline_at=1.0))
    assert store.fail_overdue()


ENDS: dict[Callable[[SqlTaskStore], object], State] = {
    completed: State.COMPLETED,
    end_in_queue: State.CANCELED,
    end_while_running: State.CANCELED,
    end_with_failure: State.FAILED,
    end_unserved: State.FAILED,
    end_overdue: State.FAILED,
}


@pytest.mark.parametrize("end", ENDS)
def test_every_way_of_ending_leaves_one_message_with_the_task_as_it_ended(store, end):
    end(store)
    (delivery,) = claim_all(store)
    assert (delivery.url, delivery.group, delivery.attempt) == (URL, DeliveryGroup(ANONYMOUS, "hooks.example"), 1)
    assert delivery.task == store.get(delivery.task.id)
    assert delivery.task.state == ENDS[end]


def test_a_task_that_asked_for_none_leaves_none(store):
    completed(store, None)
    assert claim_all(store) == []


def test_what_is_no_end_leaves_none(store):
    task = running(store)
    assert store.requeue(task, attempt_lost=True)
    task = claim_one(store)
    assert store.start_run(task)
    assert store.reclaim(["alice"])
    assert claim_all(store) == []


def test_an_end_that_comes_too_late_leaves_no_second_message(store):
    task = running(store)
    assert store.cancel(task.id)
    assert not store.complete(task, OUTPUT)
    assert not store.fail(task, FAILURE)
    assert not store.cancel(task.id)
    assert store.delete(task.id)
    assert [each.task.state for each in claim_all(store)] == [State.CANCELED]


def test_a_task_does_not_end_without_its_message(store):
    """Both are one transaction: if the message cannot be written, the task has not ended."""
    task = running(store)
    with store._engine.begin() as connection:
        connection.execute(text("DROP TABLE webhook_deliveries"))
    with pytest.raises(StoreUnavailable):
        store.complete(task, OUTPUT)
    row = store.get(task.id)
    assert row is not None
    assert row.state == State.PROCESSING


def test_what_becomes_of_the_task_later_does_not_change_its_message(store):
    task = running(store)
    assert store.fail(task, FAILURE)
    as_it_ended = store.get(task.id)
    assert store.retry(task.id)
    assert store.cancel(task.id)
    assert store.delete(task.id)
    first, second = claim_all(store), claim_all(store)
    assert [each.task for each in first] == [as_it_ended]
    assert [each.task.state for each in second] == [State.CANCELED]
    assert first[0].id != second[0].id


def test_a_claim_is_one_senders_until_it_lapses(store):
    completed(store)
    now = time.time()
    (first,) = claim_all(store, now)
    assert claim_all(store, now + LEASE_S - 1) == []
    (second,) = claim_all(store, now + LEASE_S)
    assert (second.id, second.attempt) == (first.id, 2)
    assert not store.record_attempt(first, DeliveryState.DELIVERED, None), "its claim had lapsed"
    assert store.record_attempt(second, DeliveryState.DELIVERED, None)


def test_what_is_due_is_the_oldest_of_each_lane(store):
    first, second = completed(store, "http://a.example/1"), completed(store, "http://A.example/2")
    other_port, other = completed(store, "http://a.example:8080/"), completed(store, "http://b.example/")
    theirs = completed(store, "http://a.example/3", owner="alice")
    assert {each.task.id for each in claim_all(store)} == {first.id, other_port.id, other.id, theirs.id}
    (due,) = store.due_webhooks(time.time())
    assert due.group == DeliveryGroup(ANONYMOUS, "a.example")
    assert [each.task.id for each in claim_all(store)] == [second.id]
    assert claim_all(store) == []


def test_the_oldest_of_a_lane_is_what_is_due_the_longest(store):
    ended = [completed(store, f"http://a.example/{number}") for number in range(3)]
    with store._engine.begin() as connection:
        for due_at, task in zip((2.0, 1.0, 3.0), ended, strict=True):
            connection.execute(
                update(webhook_deliveries).where(webhook_deliveries.c.task_id == task.id).values(due_at=due_at)
            )
    assert store.due_webhooks(0.5) == []
    assert [due.due_at for due in store.due_webhooks(2.5)] == [1.0]
    assert [each.task.id for _ in ended for each in claim_all(store)] == [ended[1].id, ended[0].id, ended[2].id]


def test_many_hosts_are_asked_for_with_no_more_values_than_one(store):
    """PostgreSQL accepts 65,535 values. With one value per host, many hosts would block all deliveries for good."""
    numbers: list[int] = []
    event.listen(store._engine, "before_cursor_execute", lambda *call: numbers.append(len(call[3])))

    def ask(hosts: int) -> list[int]:
        numbers.clear()
        assert len(store.due_webhooks(time.time())) == hosts
        return list(numbers)

    completed(store, "http://0.example/")
    for_one = ask(1)
    for number in range(1, 20):
        completed(store, f"http://{number}.example/")
    assert ask(20) == for_one


def test_a_url_as_long_as_may_be_does_not_keep_its_task_from_ending(store):
    task = completed(store, f"http://{'a' * 1900}.example/")
    assert [each.task.id for each in claim_all(store)] == [task.id]


def test_senders_at_the_same_moment_share_what_is_due_without_a_double(store, database_url):
    ended = {completed(store, f"http://{number}.example/").id for number in range(24)}
    stores = [SqlTaskStore.open(database_url) for _ in range(4)]

    def take(one: SqlTaskStore) -> list[str]:
        found: list[str] = []
        while due := one.due_webhooks(time.time()):
            taken = one.claim_webhooks([each.sequence for each in due[:3]], time.time(), HOUR_S)
            found += [each.task.id for each in taken]
        return found

    with ThreadPoolExecutor(4) as threads:
        taken = [task_id for each in threads.map(take, stores) for task_id in each]
    for each in stores:
        each.close()
    taken += [each.task.id for each in claim_all(store)]  # those that one skipped while another held them
    assert sorted(taken) == sorted(ended)


def test_a_delivery_waits_until_it_is_due_again(store):
    task = completed(store)
    now = time.time()
    (delivery,) = claim_all(store, now)
    assert standing(store, task) == DeliveryStatus(DeliveryState.PENDING, 1)
    assert store.record_attempt(delivery, DeliveryState.PENDING, "no answer", now + HOUR_S)
    assert standing(store, task) == DeliveryStatus(DeliveryState.PENDING, 1, "no answer")
    assert claim_all(store, now + HOUR_S - 1) == []
    assert [each.attempt for each in claim_all(store, now + HOUR_S)] == [2]


@pytest.mark.parametrize(("state", "error"), [(DeliveryState.DELIVERED, None), (DeliveryState.FAILED, "it is gone")])
def test_a_delivery_that_is_settled_is_never_due_again_by_itself(store, state, error):
    task = completed(store)
    (delivery,) = claim_all(store)
    assert store.record_attempt(delivery, state, error)
    assert not store.record_attempt(delivery, DeliveryState.PENDING, "late", 0.0)
    assert claim_all(store, time.time() + 365 * 24 * HOUR_S) == []
    assert standing(store, task) == DeliveryStatus(state, 1, error)
    with store._engine.connect() as connection:
        kept = connection.execute(select(webhook_deliveries.c.task)).scalar_one() is not None
    assert kept == (state == DeliveryState.FAILED), "what was delivered is not read again"


def test_what_was_given_up_can_be_sent_again_with_all_its_tries(store):
    task = completed(store)
    (delivery,) = claim_all(store)
    assert store.record_attempt(delivery, DeliveryState.FAILED, "it is gone")
    assert store.delete(task.id)
    assert store.resend_webhook(task.id, time.time())
    assert standing(store, task) == DeliveryStatus(DeliveryState.PENDING, 0, "it is gone")
    (again,) = claim_all(store)
    assert (again.id, again.attempt, again.task) == (delivery.id, 1, delivery.task)
    assert store.record_attempt(again, DeliveryState.DELIVERED, None)
    assert not store.resend_webhook(task.id, time.time())
    assert standing(store, task) == DeliveryStatus(DeliveryState.DELIVERED, 1)


def test_what_waits_for_its_next_try_can_be_sent_at_once(store):
    task = completed(store)
    (delivery,) = claim_all(store)
    now = time.time()
    assert store.record_attempt(delivery, DeliveryState.PENDING, "no answer", now + HOUR_S)
    assert store.resend_webhook(task.id, now)
    assert [each.attempt for each in claim_all(store, now)] == [2]


def test_only_the_last_message_of_a_task_is_sent_again(store):
    task = running(store)
    assert store.fail(task, FAILURE)
    (first,) = claim_all(store)
    assert store.record_attempt(first, DeliveryState.FAILED, "it is gone")
    assert store.retry(task.id)
    assert store.cancel(task.id)
    assert store.resend_webhook(task.id, time.time())
    assert [each.task.state for each in claim_all(store)] == [State.CANCELED]
    assert not store.resend_webhook("unknown", time.time())


def test_an_error_is_kept_short_and_storable(store):
    task = completed(store)
    (delivery,) = claim_all(store)
    assert store.record_attempt(delivery, DeliveryState.FAILED, "a\0b" + "c" * 1000)
    error = standing(store, task).last_error
    assert error is not None
    assert error.startswith("abc")
    assert len(error) == 300


def test_the_last_delivery_of_a_task_stands_for_it(store):
    task = running(store)
    assert store.fail(task, FAILURE)
    (delivery,) = claim_all(store)
    assert store.record_attempt(delivery, DeliveryState.DELIVERED, None)
    assert store.retry(task.id)
    assert store.cancel(task.id)
    assert store.webhooks_of([task.id, "unknown"]) == {task.id: DeliveryStatus(DeliveryState.PENDING)}
    assert store.webhooks_of([]) == {}


def test_a_message_of_another_version_can_be_sent(store):
    """During an upgrade two versions share the outbox: one may lack a column, the other may have an additional one."""
    task = completed(store)
    with store._engine.begin() as connection:
        snapshot = json.loads(connection.execute(select(webhook_deliveries.c.task)).scalar_one())
        del snapshot["retryable"]
        snapshot["of_tomorrow"] = 1
        connection.execute(update(webhook_deliveries).values(task=json.dumps(snapshot)))
    assert [each.task for each in claim_all(store)] == [store.get(task.id)]


def test_a_message_that_cannot_be_read_is_left_to_a_newer_version_and_holds_up_no_other(store):
    completed(store, "http://a.example/")
    with store._engine.begin() as connection:
        connection.execute(update(webhook_deliveries).values(task=webhook_deliveries.c.task.op("||")("!")))
    other = completed(store, "http://b.example/")
    assert [each.task.id for each in claim_all(store)] == [other.id]
    assert claim_all(store) == []


def test_old_deliveries_are_forgotten_a_batch_at_a_time(store, database_url):
    old, young = [completed(store) for _ in range(3)], completed(store)
    with store._engine.begin() as connection:
        aged = webhook_deliveries.c.task_id.in_([task.id for task in old])
        connection.execute(update(webhook_deliveries).where(aged).values(created_at=1000.0))
    engine = open_engine(database_url)
    retention = SqlRetentionStore(engine)
    counts = [retention.delete_webhooks(1001.0, 2) for _ in range(3)]
    engine.dispose()
    assert counts == [2, 1, 0]
    assert list(store.webhooks_of([task.id for task in [*old, young]])) == [young.id]
