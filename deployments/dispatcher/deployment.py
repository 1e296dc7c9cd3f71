"""The Dispatcher claims tasks, taking turns between their owners, and runs each through the Generator and the Encoder.

Frames never pass through the Dispatcher. No other deployment renews leases, counts lost attempts or requeues tasks.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from deployments.dispatcher.leases import DispatcherId
from deployments.dispatcher.maintenance import Maintenance
from deployments.dispatcher.membership import DispatcherMembership
from deployments.dispatcher.outcomes import RETRY_DELAY_S, OutcomeHandler, complete_if_published
from deployments.dispatcher.queue_gauges import QueueGauges
from deployments.dispatcher.retention import Retention
from deployments.dispatcher.retry_policy import EncodeRetryBudget, RetryDecision, decide_retry, unwrap_ray_error
from deployments.observability import log_context
from deployments.observability.metrics.definitions import ENCODER_LOST, STAGE_DURATION_SECONDS, TASK_RETRIES
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.observability.tracing import error_code, in_span, with_parent
from deployments.replica_resources import open_resources
from deployments.settings import Settings
from models.errors import StoreUnavailable
from models.timing import TimedStage
from storage.db.engine import SqliteLock
from storage.sql.dispatcher_registry import DispatcherRegistration, SqlDispatcherRegistry
from storage.sql.retention import SqlRetentionStore
from storage.tasks import State, Task

PREFETCH = 1
"""Tasks handed out beyond the number of Generators, so that the next task waits at a Generator, not in the queue."""
RENDERED_CHECK_S = 0.02

Claim = tuple[str, int]
"""One run of a task: its id and its claim token. A requeued task may run again before the earlier run is cleaned up."""

logger = logging.getLogger("ray.serve")


class Dispatcher:
    """The claim loop. `app` is the number of this deploy; `generator` and `encoder` are deployment handles."""

    def __init__(
        self,
        settings: Settings,
        model_name: str,
        generator: Any,
        encoder: Any,
        *,
        server: str,
        app: int,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        if settings.uses_sqlite:
            self._lock = SqliteLock(settings.database_url, server)
        resources = open_resources(settings, "Dispatcher", metrics, State.FAILED, State.COMPLETED)
        settings = resources.settings
        self._settings = settings.dispatcher
        self._model_name = model_name
        self._metrics = metrics
        metrics.initialize(TASK_RETRIES)
        self._tasks = resources.tasks
        self._queue_gauges = QueueGauges(self._tasks, model_name, metrics)
        self._outputs = resources.outputs
        self._outcomes = OutcomeHandler(settings.dispatcher, self._tasks, self._outputs, metrics)
        self._retention = Retention(settings.retention, SqlRetentionStore(resources.engine), self._outputs)
        self._tracer = resources.tracer
        self._generator = generator
        self._encoder = encoder
        self._name = DispatcherId.current()
        self._maintenance = Maintenance(settings, self._name, model_name, self._tasks, self._outcomes)
        me = DispatcherRegistration(str(self._name), app, model_name, ready=False)
        self._place = DispatcherMembership(
            SqlDispatcherRegistry(resources.engine), me, _in_flight(settings.generator.max_replicas)
        )
        self._generating: set[Claim] = set()
        self._running: dict[Claim, tuple[Task, asyncio.Task[None]]] = {}
        self._mending: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()
        self._stopping = False
        self._app_runs = False
        self._app_watch = asyncio.get_running_loop().create_task(self._watch_app())
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def notify(self) -> None:
        """Look for tasks now instead of at the next poll. This only saves time: nothing depends on it."""
        self._nudged.set()

    async def check_health(self) -> None:
        """Raise RuntimeError when the loop has ended, so that Serve replaces the replica."""
        if self._loop.done() and not self._stopping:
            raise RuntimeError(f"the dispatcher's loop has ended: {self._loop}")

    async def __del__(self) -> None:
        """Stop claiming, wait up to `drain_timeout_s` for running tasks, then requeue the rest."""
        self._stopping = True
        self._app_watch.cancel()
        self._nudged.set()
        with contextlib.suppress(StoreUnavailable):
            await asyncio.to_thread(self._place.deregister)
        await self._drain()
        await asyncio.wait([self._loop])  # a claim in progress still completes; its tasks are requeued below
        for task, work in list(self._running.values()):
            work.cancel()
            await self._outcomes.retry_until_available(self._tasks.requeue, task, attempt_lost=False)
        self._tasks.close()
        await asyncio.to_thread(self._tracer.close)

    async def _watch_app(self) -> None:
        """Wait until Serve reports the app as running. During an upgrade, the older app claims until then."""
        while not self._app_runs:
            with contextlib.suppress(Exception):  # the Serve controller may be away: ask again later
                self._app_runs = await asyncio.to_thread(self._is_app_running)
            await asyncio.sleep(self._settings.poll_interval_s)

    def _is_app_running(self) -> bool:
        found = serve.status().applications.get(serve.get_replica_context().app_name)
        return found is not None and found.status == ApplicationStatus.RUNNING

    async def _drain(self) -> None:
        """Wait for running tasks and keep renewing their leases meanwhile."""
        ends_at = time.monotonic() + self._settings.drain_timeout_s
        while self._running and (left_s := ends_at - time.monotonic()) > 0:
            running = [work for _, work in self._running.values()]
            await asyncio.wait(running, timeout=min(left_s, self._settings.lease_s / 3))
            with contextlib.suppress(StoreUnavailable):
                await self._maintenance.renew_leases()

    async def _run(self) -> None:
        while not self._stopping:
            self._nudged.clear()  # before the claim, so that a nudge during it causes another claim
            try:
                await self._maintenance.run_due()
                self._retention.start_if_due()
                await self._start_tasks()
                await asyncio.to_thread(self._queue_gauges.publish_if_due, mine=self._place.is_leader)
            except StoreUnavailable as error:
                logger.warning("waiting for the task store: %s", error.message)
                await asyncio.sleep(self._settings.poll_interval_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._settings.poll_interval_s)

    async def _start_tasks(self) -> None:
        await asyncio.to_thread(self._place.heartbeat, ready=self._app_runs)
        free = self._place.in_flight_limit - len(self._generating)
        if free <= 0 or self._stopping:
            return
        claim = self._tasks.claim
        for task in await asyncio.to_thread(claim, str(self._name), self._model_name, free, self._settings.lease_s):
            if task.claim_token == 1:
                self._metrics.observe(STAGE_DURATION_SECONDS, time.time() - task.created_at, stage=TimedStage.CLAIM)
            self._generating.add(_claim(task))
            work = asyncio.create_task(self._process_task(task))
            self._running[_claim(task)] = (task, work)
            work.add_done_callback(self._on_done(task))

    def _on_done(self, task: Task) -> Callable[[asyncio.Task[None]], None]:
        def forget(work: asyncio.Task[None]) -> None:
            self._running.pop(_claim(task), None)
            self._release_slot(task)
            if not work.cancelled() and (error := work.exception()):
                with log_context.bind_task(task):
                    logger.error("task %s: lost by the dispatcher", task.id, exc_info=error)
                    mending = asyncio.create_task(self._outcomes.apply(task, error, RetryDecision.REQUEUE))
                self._mending.add(mending)
                mending.add_done_callback(self._mending.discard)

        return forget

    def _release_slot(self, task: Task) -> None:
        """Mark the task as rendered: the Dispatcher may hand out another one."""
        if _claim(task) in self._generating:
            self._generating.discard(_claim(task))
            self._nudged.set()

    async def _process_task(self, task: Task) -> None:
        parent, attempt = task.context.traceparent, task.attempts + 1
        if task.claim_token == 1:
            self._tracer.record_span("queue", parent, time.time() - task.created_at, task_id=task.id)
        with (
            log_context.bind_task(task),
            in_span(self._tracer, "claim", parent, task_id=task.id, attempt=attempt) as span,
        ):
            span.end(await self._run_task(with_parent(task, span)))

    async def _run_task(self, task: Task) -> str | None:
        """Run one task: the clip goes from the Generator to the Encoder and never passes through this process.

        Returns the code of the error that ended the run, or None.
        """
        if task.claim_token > 1 and await self._is_published(task):
            logger.info("task %s: its file was already there", task.id)
            await self._outcomes.retry_until_available(self._outcomes.delete_input_of_ended, task)
            return None
        return await self._encode(self._generator.generate.remote(task), task)

    async def _is_published(self, task: Task) -> bool:
        """Complete the task if an earlier claim has published its file.

        A first claim does not ask. It has no file, and in threads one task of a batch could overtake another.
        """
        return await self._outcomes.try_until_timeout(complete_if_published, task, self._tasks, self._outputs)

    async def _encode(self, response: Any, task: Task) -> str | None:
        """Wait until the clip is rendered and have it encoded. Encodes again when the Encoder was lost."""
        failed, clip = None, None
        encodes = EncodeRetryBudget()
        while True:
            try:
                clip = clip or await self._wait_for_clip(response, task)
                await self._encoder.encode.remote(clip, task)
            except Exception as wrapped:  # the task boundary: every error of a run is handled here
                error = unwrap_ray_error(wrapped)
                row = await self._outcomes.retry_until_available(self._tasks.get, task.id)
                decision = decide_retry(error, row, may_encode_again=encodes.allow_retry(error))
                if decision == RetryDecision.ENCODE_AGAIN:
                    logger.warning("task %s: encoding again: %s", task.id, error)
                    self._metrics.add(TASK_RETRIES, reason=ENCODER_LOST)
                    await asyncio.sleep(RETRY_DELAY_S)
                    continue
                failed = error_code(error)
                await self._outcomes.apply(task, error, decision)
            break
        await self._outcomes.retry_until_available(self._outcomes.delete_input_of_ended, task)
        return failed

    async def _wait_for_clip(self, response: Any, task: Task) -> Any:
        """Return the object reference of the clip once it is rendered. The frames stay in the object store.

        Serve also accepts a response as an argument. But Serve then waits with a callback (`ObjectRef._ready`) that
        Ray 2.60 keeps after it ran, together with the clip. The clip fills shared memory and its node never becomes
        idle, so that neither a drain nor the autoscaler can release the GPU.
        """
        reference = await response._to_object_ref()  # noqa: SLF001  # Serve's documentation names this method
        # Awaiting the reference would copy the frames here. A thread per reference would exhaust the thread pool.
        while not ray.wait([reference], timeout=0, fetch_local=False)[0]:  # noqa: ASYNC110
            await asyncio.sleep(RENDERED_CHECK_S)
        self._release_slot(task)
        return reference


def _claim(task: Task) -> Claim:
    return (task.id, task.claim_token)


def _in_flight(max_replicas: int) -> int:
    """Tasks handed out at once: one per Generator, and enough more for several tasks that end at the same moment."""
    return max_replicas + max(PREFETCH, max_replicas // 2)
