"""The delivery worker with real receivers: content, number of attempts, and isolation between receivers."""

import asyncio
import contextlib
import json
import time

import pytest
from sqlalchemy import update

from deployments.ingress.webhooks.ssrf import Resolver
from deployments.ingress.webhooks.worker import BACKOFFS_S, HOUR_S, MINUTE_S, backoff_s
from deployments.observability.metrics.definitions import WEBHOOKS
from models.errors import StoreUnavailable
from storage.db.schema import webhook_deliveries
from storage.webhooks import DeliveryState, DeliveryStatus
from tests.ingress.webhooks.conftest import until
from tests.ingress.webhooks.receivers import OLD_SECRET, SECRET, Answer, endless_port, flooding_port, silent_port

DELIVERED, PENDING, FAILED = DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.FAILED


def test_a_receiver_gets_the_poll_body_signed_as_the_library_wants_it(outbox, receive):
    receiver = receive()
    task = outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    (message,) = receiver.messages
    told = message.verified()
    assert told["type"] == "video.completed"
    assert told["timestamp"].endswith("Z")
    assert told["data"]["task_id"] == task.id
    assert told["data"]["status"] == "completed"
    assert told["data"]["url"] == "https://videos.example/outputs/ltx2_x.mp4"
    assert message.path == "/ended?token=1"
    assert message.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-id"].startswith("msg_")
    assert outbox.standing(task) == DeliveryStatus(DELIVERED, 1)


def test_all_secrets_sign_so_that_one_can_follow_another(outbox, receive):
    receiver = receive()
    outbox.end(receiver.url())
    asyncio.run(outbox.send_due(secret=f"{SECRET} {OLD_SECRET}"))
    (message,) = receiver.messages
    assert message.verified(SECRET) == message.verified(OLD_SECRET)


def test_what_is_told_is_how_the_task_ended_not_what_became_of_it_later(outbox, receive):
    receiver = receive()
    task = outbox.end(receiver.url())
    assert outbox.store.delete(task.id)
    asyncio.run(outbox.send_due())
    assert receiver.messages[0].verified()["type"] == "video.completed"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_try_that_fails_is_made_again_with_the_same_message(outbox, receive, status):
    receiver = receive(Answer(status), Answer())
    task = outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(PENDING, 1, f"the receiver answered {status}")
    outbox.now += BACKOFFS_S[0]
    asyncio.run(outbox.send_due())
    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + BACKOFFS_S[0]
    assert outbox.standing(task) == DeliveryStatus(DELIVERED, 2)


def test_tries_are_counted_by_what_came_of_them(outbox, receive):
    receiver = receive(Answer(503), Answer())
    outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    assert outbox.recorded.value(WEBHOOKS, outcome="tried_again") == 1
    outbox.now += BACKOFFS_S[0]
    asyncio.run(outbox.send_due())
    assert outbox.recorded.value(WEBHOOKS, outcome="delivered") == 1
    assert outbox.recorded.value(WEBHOOKS, outcome="given_up") is None


def test_after_a_day_of_tries_a_delivery_is_given_up(outbox, receive):
    receiver = receive(Answer(500))
    task = outbox.end(receiver.url())
    began = outbox.now
    for wait in BACKOFFS_S:
        asyncio.run(outbox.send_due())
        assert outbox.standing(task).state == PENDING
        outbox.now += wait
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(FAILED, len(BACKOFFS_S) + 1, "the receiver answered 500")
    assert outbox.recorded.value(WEBHOOKS, outcome="given_up") == 1
    assert outbox.now - began == 27 * HOUR_S + 35 * MINUTE_S + 5
    outbox.now += 100 * HOUR_S
    asyncio.run(outbox.send_due())
    assert len(receiver.messages) == len(BACKOFFS_S) + 1


def test_waits_grow_and_are_spread():
    assert list(BACKOFFS_S) == sorted(BACKOFFS_S)
    assert backoff_s(1, lambda: 0.5) == pytest.approx(5.5)
    assert backoff_s(len(BACKOFFS_S) + 1, lambda: 0.0) is None


def test_a_receiver_that_is_gone_is_not_asked_again(outbox, receive):
    receiver = receive(Answer(410))
    task = outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(FAILED, 1, "the receiver answered 410: it wants no more messages")


@pytest.mark.parametrize(("asked", "wait"), [("60", 60), ("1", 5), ("9" * 400, 3600), ("-5", 5), ("tomorrow", 5)])
def test_a_receiver_may_ask_for_more_time(outbox, receive, asked, wait):
    receiver = receive(Answer(503, {"Retry-After": asked}), Answer())
    task = outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    outbox.now += wait - 1
    asyncio.run(outbox.send_due())
    assert outbox.standing(task).state == PENDING
    outbox.now += 1
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(DELIVERED, 2)


def test_a_redirect_is_not_followed(outbox, receive):
    """Also if the target is allowed. If it is not allowed, no request is sent either."""
    inside = receive()
    receiver = receive(Answer(302, {"Location": inside.url()}))
    task = outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    assert inside.messages == []
    assert outbox.standing(task).last_error == "the receiver answered 302, a redirect, which is not followed"


def test_a_name_that_leads_inside_is_not_connected_to(outbox, receive):
    receiver = receive()
    outbox.names.answers = {"hooks.example": [["127.0.0.1"]], "half.example": [["8.8.8.8", "127.0.0.1"]]}
    tasks = [outbox.end(receiver.url(host)) for host in ("hooks.example", "half.example", "127.0.0.1")]
    asyncio.run(outbox.send_due(allow_private=False))
    assert receiver.messages == []
    # the same as for an unknown name: the error does not reveal names of the network
    error = "no connection to its host"
    assert [outbox.standing(task) for task in tasks] == [DeliveryStatus(PENDING, 1, error)] * 3


def test_a_name_is_checked_again_at_each_try(outbox, receive):
    receiver = receive()
    outbox.names.answers = {"hooks.example": [[], ["127.0.0.1"]]}
    task = outbox.end(receiver.url("hooks.example"))
    asyncio.run(outbox.send_due(allow_private=False))
    assert outbox.standing(task).last_error == "no connection to its host"
    outbox.now += BACKOFFS_S[0]
    asyncio.run(outbox.send_due(allow_private=False))
    assert outbox.standing(task).last_error == "no connection to its host"
    assert receiver.messages == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(outbox, receive):
    """A name server that changes its answer a moment later has no effect: it is queried once per attempt."""
    receiver = receive()
    outbox.names.answers = {"hooks.example": [["127.0.0.1"], ["192.0.2.1"]]}
    task = outbox.end(receiver.url("hooks.example"))
    asyncio.run(outbox.send_due())
    assert outbox.names.asked == ["hooks.example"]
    assert receiver.messages[0].headers["host"] == f"hooks.example:{receiver.port}"
    assert outbox.standing(task).state == DELIVERED


def test_of_several_addresses_the_next_is_tried(outbox, receive):
    receiver = receive()
    outbox.names.answers = {"hooks.example": [["127.0.0.2", "127.0.0.1"]]}  # no server listens at the first address
    task = outbox.end(receiver.url("hooks.example"))
    asyncio.run(outbox.send_due())
    assert outbox.standing(task).state == DELIVERED


def test_a_receiver_that_is_not_there_is_tried_again(outbox, receive):
    outbox.names.answers = {"nobody.example": [["127.0.0.2"]]}
    task = outbox.end(f"http://nobody.example:{receive().port}/")
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(PENDING, 1, "no connection to its host")


def test_a_host_that_can_be_no_name_is_one_that_is_not_there(outbox):
    tasks = [outbox.end(f"http://{host}/") for host in ("a" * 64 + ".example", "a..example")]

    async def send() -> None:
        with contextlib.closing(Resolver(1)) as resolver:
            outbox.names = resolver
            await outbox.send_due()

    asyncio.run(send())
    assert [outbox.standing(task) for task in tasks] == [DeliveryStatus(PENDING, 1, "no connection to its host")] * 2


def test_a_silent_receiver_is_waited_for_so_long_and_no_longer(outbox):
    with silent_port() as port:
        task = outbox.end(f"http://127.0.0.1:{port}/")
        asyncio.run(outbox.send_due(timeout_s=0.2))
    assert outbox.standing(task) == DeliveryStatus(PENDING, 1, "no answer in 0.2 s")


def test_an_answer_without_end_is_not_read(outbox):
    with endless_port() as port:
        task = outbox.end(f"http://127.0.0.1:{port}/")
        asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(DELIVERED, 1)


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n",
        b"HTTP/1.1 100 \r\nx: " + b"y" * 30_000 + b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [1, 500])
def test_a_receiver_that_promises_an_answer_without_end_is_left(outbox, flood, at_once):
    with flooding_port(flood * at_once) as flooding:
        task = outbox.end(f"http://127.0.0.1:{flooding.port}/")
        asyncio.run(outbox.send_due(timeout_s=60))
        assert outbox.standing(task) == DeliveryStatus(PENDING, 1, "the receiver sent too many bytes")
    assert flooding.sent_bytes < 20_000_000, "a socket's buffers hold a few MB that nobody reads"


def test_a_few_interim_answers_are_no_fault(outbox):
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 4 + b"HTTP/1.1 204 No Content\r\n\r\n"
    with flooding_port(interim, endless=False) as flooding:
        task = outbox.end(f"http://127.0.0.1:{flooding.port}/")
        asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(DELIVERED, 1)


def test_the_tries_of_a_deleted_task_end_those_under_way_too(outbox, receive):
    receiver = receive(Answer(500))

    async def scene(port: int) -> None:
        tried, silent = outbox.end(receiver.url()), outbox.end(f"http://127.0.0.1:{port}/")
        async with outbox.sender(timeout_s=60) as sender:
            await sender.start_due()
            await until(lambda: outbox.standing(tried).last_error is not None)
            for task in (tried, silent):
                outbox.store.fail_webhooks(task.id)
                assert outbox.standing(task) == DeliveryStatus(FAILED, 1, "its task was deleted")
            await sender.stop_ended()
            await asyncio.wait_for(sender.close(), 30)
            outbox.now += BACKOFFS_S[0]
            assert await sender.start_due() == 0
            assert outbox.standing(silent) == DeliveryStatus(FAILED, 1, "its task was deleted")

    with silent_port() as port:
        asyncio.run(scene(port))


def test_a_receiver_without_tls_gets_nothing_that_was_meant_for_https(outbox, receive):
    task = outbox.end(f"https://127.0.0.1:{receive().port}/")  # TLS to a receiver without TLS
    asyncio.run(outbox.send_due())
    assert outbox.standing(task) == DeliveryStatus(PENDING, 1, "no connection to its host")


def test_silent_receivers_hold_up_no_other(outbox, receive):
    """For a silent receiver only a bounded number of deliveries is in progress; others are served meanwhile."""
    receiver = receive()

    async def scene(port: int) -> None:
        silent = [outbox.end(f"http://127.0.0.1:{port}/") for _ in range(6)]
        living = [outbox.end(receiver.url()) for _ in range(6)]
        async with outbox.sender(max_concurrent_deliveries=5, max_per_host=2, timeout_s=60) as sender:
            loop = asyncio.create_task(sender.run())
            await until(lambda: all(outbox.standing(task).state == DELIVERED for task in living))
            assert sum(outbox.standing(task).attempts for task in silent) == 2
            loop.cancel()
            await asyncio.wait([loop])

    with silent_port() as port:
        asyncio.run(scene(port))


def test_the_dead_hosts_of_one_owner_hold_up_no_other_owner(outbox, receive):
    receiver = receive()

    async def scene(port: int) -> None:
        for number in range(9):
            outbox.names.answers[f"{number}.example"] = [["127.0.0.1"]]
            outbox.end(f"http://{number}.example:{port}/", owner="alice")
        living = [outbox.end(receiver.url(), owner="bob") for _ in range(3)]
        async with outbox.sender(max_concurrent_deliveries=5, max_per_owner=3, timeout_s=60) as sender:
            loop = asyncio.create_task(sender.run())
            await until(lambda: all(outbox.standing(task).state == DELIVERED for task in living))
            assert [each.group.owner for each in sender._sending.values()].count("alice") == 3
            loop.cancel()
            await asyncio.wait([loop])

    with silent_port() as port:
        asyncio.run(scene(port))


def test_no_more_is_under_way_than_the_bound(outbox):
    async def scene(port: int) -> int:
        for number in range(8):
            outbox.names.answers[f"{number}.example"] = [["127.0.0.1"]]
            outbox.end(f"http://{number}.example:{port}/")
        async with outbox.sender(max_concurrent_deliveries=3, timeout_s=60) as sender:
            started = [await sender.start_due() for _ in range(3)]
            for sending in list(sender._sending):
                sending.cancel()
            await sender.close()
            return sum(started)

    with silent_port() as port:
        assert asyncio.run(scene(port)) == 3


def test_what_a_dying_sender_had_under_way_is_sent_by_the_next(outbox, receive):
    receiver = receive()

    async def die_in_the_middle(port: int) -> str:
        outbox.names.answers = {"hooks.example": [["127.0.0.1"]]}
        task = outbox.end(f"http://hooks.example:{port}/")
        async with outbox.sender(timeout_s=60) as sender:
            assert await sender.start_due() == 1
            for sending in list(sender._sending):
                sending.cancel()
            await sender.close()
        return str(task.id)

    with silent_port() as port:
        task_id = asyncio.run(die_in_the_middle(port))
    (standing,) = outbox.store.webhooks_of([task_id]).values()
    assert standing == DeliveryStatus(PENDING, 1)
    move_to(outbox, receiver.url("hooks.example"))
    asyncio.run(outbox.send_due(timeout_s=60))
    assert receiver.messages == [], "it is the other sender's until its claim lapses"
    outbox.now += 60 + 30
    asyncio.run(outbox.send_due(timeout_s=60))
    assert outbox.store.webhooks_of([task_id]) == {task_id: DeliveryStatus(DELIVERED, 2)}


def move_to(outbox, url: str) -> None:
    """Change the url of the stored deliveries, so that the test can receive them."""
    with outbox.store._engine.begin() as connection:
        connection.execute(update(webhook_deliveries).values(url=url))


def test_the_sender_outlives_a_store_that_is_away(outbox, receive):
    receiver = receive()
    task = outbox.end(receiver.url())
    store, claim = outbox.store, outbox.store.claim_webhooks
    failures = [StoreUnavailable("away"), RuntimeError("a bug")]

    def claim_or_fail(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return claim(*arguments)

    store.claim_webhooks = claim_or_fail

    async def scene() -> None:
        async with outbox.sender() as sender:
            loop = asyncio.create_task(sender.run())
            await until(lambda: outbox.standing(task).state == DELIVERED)
            loop.cancel()
            await asyncio.wait([loop])

    asyncio.run(scene())
    assert failures == []
    assert len(receiver.messages) == 1


def test_the_body_is_one_line_of_json_and_small(outbox, receive):
    receiver = receive()
    outbox.end(receiver.url())
    asyncio.run(outbox.send_due())
    body = receiver.messages[0].body
    assert json.dumps(json.loads(body), separators=(",", ":")).encode() == body
    assert len(body) < 20_000
    assert abs(time.time() - int(receiver.messages[0].headers["webhook-timestamp"])) < 300
