"""The loop that sends the deliveries in the outbox.

Each Ingress runs one worker. Workers share the deliveries through claims that expire. If a process dies during an
attempt, its claim expires and another worker repeats the attempt: delivery is at least once.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

from deployments.ingress.webhooks.client import DeliveryResult, WebhookClient
from deployments.observability.log_context import bind_task
from deployments.observability.metrics.definitions import DELIVERED, GIVEN_UP, TRIED_AGAIN, WEBHOOKS
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings import WebhookSettings
from models.errors import StoreUnavailable
from storage.sql.webhooks import WebhookQueries
from storage.tasks import ANONYMOUS
from storage.webhooks import Delivery, DeliveryGroup, DeliveryState, DueDelivery

POLL_S = 1.0
LEASE_MARGIN_S = 30.0
"""A claim lasts this much longer than the time limit of an attempt."""

logger = logging.getLogger("ray.serve")


class DeliveryWorker:
    """Sends due deliveries, within the limits for all, for one host and for one owner."""

    def __init__(
        self,
        settings: WebhookSettings,
        store: WebhookQueries,
        post: WebhookClient,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        *,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        self._settings = settings
        self._store = store
        self._post = post
        self._clock = clock
        self._draw = draw
        self._metrics = metrics
        self._looked_at = 0.0
        self._sending: dict[asyncio.Task[None], Delivery] = {}

    async def run(self) -> None:
        """Send until canceled. A delivery that is in progress then is tried again by the worker that claims it next."""
        try:
            while True:
                await self._stop_ended()
                if not await self._start_due():
                    await self._pause()
        finally:
            for sending in self._sending:
                sending.cancel()
            await self.close()

    async def _stop_ended(self) -> None:
        """Cancel attempts of deliveries that are no longer pending. Logs a warning if the store is unavailable."""
        try:
            await self.stop_ended()
        except StoreUnavailable as error:
            logger.warning("webhooks continue after an error: %s", error.message)

    async def stop_ended(self) -> None:
        """Cancel attempts of deliveries that are no longer pending. Checks at most once per POLL_S.

        Raises StoreUnavailable.
        """
        now = self._clock()
        if not self._sending or now < self._looked_at + POLL_S:
            return
        self._looked_at = now
        pending = await asyncio.to_thread(self._store.pending_webhooks, [each.id for each in self._sending.values()])
        for sending, delivery in self._sending.items():
            if delivery.id not in pending:
                logger.info("webhook %s of task %s: ended", delivery.id, delivery.task.id)
                sending.cancel()

    async def _start_due(self) -> int:
        try:
            return await self.start_due()
        except Exception as error:  # the loop must survive errors, such as an unavailable store
            logger.warning("webhooks wait: %s", error, exc_info=not isinstance(error, StoreUnavailable))
            return 0

    async def start_due(self) -> int:
        """Claim due deliveries up to the limits and start to send them. Returns the number of started deliveries.

        Raises StoreUnavailable.
        """
        if len(self._sending) >= self._settings.max_concurrent_deliveries:
            return 0
        now, lease_s = self._clock(), self._settings.timeout_s + LEASE_MARGIN_S
        due = await asyncio.to_thread(self._store.due_webhooks, now)
        chosen = [
            each.sequence
            for each in select_deliveries(due, [each.group for each in self._sending.values()], self._settings)
        ]
        claimed = await asyncio.to_thread(self._store.claim_webhooks, chosen, now, lease_s)
        for delivery in claimed:
            sending = asyncio.create_task(self._deliver(delivery))
            self._sending[sending] = delivery
            sending.add_done_callback(self._sending.pop)
        return len(claimed)

    async def close(self) -> None:
        """Wait until all attempts in progress have ended."""
        while self._sending:
            await asyncio.wait(list(self._sending))

    async def _pause(self) -> None:
        """Wait until an attempt ends, which frees capacity, but at most POLL_S: other deliveries may become due."""
        if self._sending:
            await asyncio.wait(list(self._sending), timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL_S)

    async def _deliver(self, delivery: Delivery) -> None:
        with bind_task(delivery.task):
            try:
                outcome = await self._try(delivery)
                await asyncio.to_thread(self._record_attempt, delivery, outcome)
            except StoreUnavailable as error:
                logger.warning("webhook %s will be sent again: %s", delivery.id, error.message)

    async def _try(self, delivery: Delivery) -> DeliveryResult:
        try:
            return await self._post.send(delivery)
        except StoreUnavailable:
            raise
        except Exception as error:  # an error of one delivery must not stop the others
            logger.exception("webhook %s of task %s", delivery.id, delivery.task.id, exc_info=error)
            return DeliveryResult("the server met an error of its own")

    def _record_attempt(self, delivery: Delivery, outcome: DeliveryResult) -> None:
        this = f"webhook {delivery.id} of task {delivery.task.id}, try {delivery.attempt}"
        if outcome.error is None:
            logger.info("%s: delivered", this)
            self._metrics.add(WEBHOOKS, outcome=DELIVERED)
            self._store.record_attempt(delivery, DeliveryState.DELIVERED, None)
            return
        wait = None if outcome.final else backoff_s(delivery.attempt, self._draw)
        if wait is None:
            logger.warning("%s: given up: %s", this, outcome.error)
            self._metrics.add(WEBHOOKS, outcome=GIVEN_UP)
            self._store.record_attempt(delivery, DeliveryState.FAILED, outcome.error)
            return
        wait = max(wait, outcome.retry_after_s)
        self._metrics.add(WEBHOOKS, outcome=TRIED_AGAIN)
        logger.info("%s: again in %.0f s: %s", this, wait, outcome.error)
        self._store.record_attempt(delivery, DeliveryState.PENDING, outcome.error, self._clock() + wait)


def select_deliveries(
    due: Iterable[DueDelivery], sending: Iterable[DeliveryGroup], settings: WebhookSettings
) -> list[DueDelivery]:
    """Select deliveries from `due` that may start while `sending` goes on.

    The owner with the fewest deliveries in progress comes first, then the host with the fewest, then the oldest due.
    Without API keys, the owner of all tasks is ANONYMOUS, which has no limit: only the limit per host applies.
    """
    under_way, waiting, picked = list(sending), list(due), list[DueDelivery]()
    hosts, owners = Counter(each.host for each in under_way), Counter(each.owner for each in under_way)
    while len(under_way) + len(picked) < settings.max_concurrent_deliveries:
        waiting = [each for each in waiting if _is_allowed(each.group, hosts, owners, settings)]
        if not waiting:
            break
        following = min(waiting, key=lambda each: (owners[each.group.owner], hosts[each.group.host], each.due_at))
        waiting.remove(following)
        picked.append(following)
        hosts[following.group.host] += 1
        owners[following.group.owner] += 1
    return picked


def _is_allowed(group: DeliveryGroup, hosts: Counter[str], owners: Counter[str], settings: WebhookSettings) -> bool:
    within = group.owner == ANONYMOUS or owners[group.owner] < settings.max_per_owner
    return within and hosts[group.host] < settings.max_per_host


MINUTE_S = 60.0
HOUR_S = 3600.0
BACKOFFS_S = (5.0, 5 * MINUTE_S, 30 * MINUTE_S, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 10 * HOUR_S)
"""The wait after each failed attempt, as Standard Webhooks 1.0 proposes. The sum is 27 h 35 min."""
JITTER = 0.2
"""Each wait is longer by a random fraction up to this one.

So deliveries that fail together are not retried together.
"""


def backoff_s(attempt: int, draw: Callable[[], float]) -> float | None:
    """Seconds to wait after failed attempt number `attempt`; None after the last. `draw` returns 0 to 1."""
    if attempt > len(BACKOFFS_S):
        return None
    return BACKOFFS_S[attempt - 1] * (1 + JITTER * draw())
