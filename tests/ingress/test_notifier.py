"""Promise: the Dispatcher is notified after every submit, and a burst of submits causes only a few notifications."""

import asyncio

from deployments.ingress.deployment import DispatcherNotifier


class Dispatcher:
    """Answers a notification when the test allows it."""

    def __init__(self) -> None:
        self.nudges = 0
        self.nudged = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def nudge(self) -> None:
        self.nudges += 1
        self.nudged.set()
        await self.may_answer.wait()


async def one_nudge_then_a_burst() -> int:
    dispatcher = Dispatcher()
    nudge = DispatcherNotifier(dispatcher.nudge)
    await nudge()
    await dispatcher.nudged.wait()
    dispatcher.nudged.clear()
    for _ in range(100):
        await nudge()
    dispatcher.may_answer.set()
    await dispatcher.nudged.wait()
    assert nudge._sending is not None
    await nudge._sending
    return dispatcher.nudges


def test_a_burst_of_submits_is_covered_by_one_more_nudge() -> None:
    assert asyncio.run(one_nudge_then_a_burst()) == 2


async def two_nudges_apart() -> int:
    dispatcher = Dispatcher()
    dispatcher.may_answer.set()
    nudge = DispatcherNotifier(dispatcher.nudge)
    for _ in range(2):
        await nudge()
        assert nudge._sending is not None
        await nudge._sending
    return dispatcher.nudges


def test_a_submit_after_a_rest_is_a_nudge_of_its_own() -> None:
    assert asyncio.run(two_nudges_apart()) == 2
