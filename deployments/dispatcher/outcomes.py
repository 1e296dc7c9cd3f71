"""Records the outcome of a run that did not complete its task: the task is requeued, failed, or left alone."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from deployments.dispatcher.retry_policy import STORE_TIMEOUT_S, RetryDecision, failure_from, replica_lost_failure
from deployments.observability.metrics.definitions import DISPATCHER_LOST, GENERATOR_LOST, PUT_BACK, TASK_RETRIES
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings import DispatcherSettings
from models.errors import StoreUnavailable
from storage.outputs.store import OutputStore, output_key, poster_key, staging_key
from storage.sql.workers import WorkerQueries
from storage.task_store import SqlTaskStore
from storage.tasks import Failure, Output, Task

RETRY_DELAY_S = 1.0
"""Pause before a task is tried again after an error that the task did not cause."""

logger = logging.getLogger("ray.serve")


class OutcomeHandler:
    """Writes outcomes to the task rows, and deletes the input images of tasks that have ended."""

    def __init__(
        self,
        settings: DispatcherSettings,
        tasks: SqlTaskStore,
        outputs: OutputStore,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._outputs = outputs
        self._metrics = metrics

    async def apply(self, task: Task, error: BaseException, decision: RetryDecision) -> None:
        """Carry out `decision` for a task whose run ended with `error`."""
        match decision:
            case RetryDecision.IGNORE:
                logger.info("task %s: dropped: %s", task.id, error)
            case RetryDecision.REQUEUE if task.requeues < self._settings.max_requeues:
                logger.warning("task %s: back in the queue: %s", task.id, error)
                self._metrics.add(TASK_RETRIES, reason=PUT_BACK)
                await asyncio.sleep(RETRY_DELAY_S)
                await self.retry_until_available(self._tasks.requeue, task, attempt_lost=False)
            case RetryDecision.REQUEUE:
                await self.retry_until_available(self.record_end, task, self.too_many_restarts())
            case RetryDecision.RETRY_COUNTED if task.attempts + 1 < self._settings.max_attempts:
                logger.warning("task %s: its replica was lost, attempt %d: %s", task.id, task.attempts + 1, error)
                self._metrics.add(TASK_RETRIES, reason=GENERATOR_LOST)
                await self.retry_until_available(self._tasks.requeue, task, attempt_lost=True)
            case RetryDecision.RETRY_COUNTED:
                await self.retry_until_available(self.record_end, task, replica_lost_failure(error, task.attempts + 1))
            case _:
                logger.error("task %s: failed: %s", task.id, error, exc_info=error)
                await self.retry_until_available(self.record_end, task, failure_from(error))

    def record_reclaimed(self, task: Task) -> None:
        """Log and count a task that was requeued because its Dispatcher was lost."""
        logger.info("task %s: back in the queue after its dispatcher was lost", task.id)
        self._metrics.add(TASK_RETRIES, reason=DISPATCHER_LOST)

    async def retry_until_available(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the store until it answers, without a limit: the outcome of a task must be written."""
        while True:
            try:
                return await asyncio.to_thread(operation, *args, **kwargs)
            except StoreUnavailable as error:
                logger.warning("waiting for the store: %s", error.message)
                await asyncio.sleep(self._settings.poll_interval_s)

    async def try_until_timeout(self, operation: Callable[..., bool], *args: Any) -> bool:
        """Call the stores until they answer. Returns False when they have not after STORE_TIMEOUT_S.

        The limit keeps a broken store from blocking a slot forever. The run goes on and meets the error at its end.
        """
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                return bool(await self.retry_until_available(operation, *args))
        except TimeoutError:
            return False

    def too_many_restarts(self) -> Failure:
        """The failure of a task that was requeued more than `max_requeues` times."""
        message = f"the task was interrupted {self._settings.max_requeues} times: the server stopped or lost its stores"
        return Failure(message, "too_many_restarts", retryable=True)

    def record_end(self, task: Task, why: Failure) -> None:
        """Fail a task and delete its input image. Blocks; raises StoreUnavailable."""
        self._tasks.fail(task, why)
        self.delete_input(task)

    def delete_input_of_ended(self, task: Task) -> None:
        """Delete the input image of a task if it has ended. Blocks; raises StoreUnavailable."""
        row = self._tasks.get(task.id)
        if row is None or row.is_finished:
            self.delete_input(task)

    def delete_input(self, task: Task) -> None:
        """Delete the input image of a task that has ended. Blocks; never raises StoreUnavailable."""
        self.delete_inputs([task])

    def delete_inputs(self, ended: Iterable[Task]) -> None:
        """Delete the input images of tasks that have ended. Stops at the first that fails: each failure may be a wait.

        The retention deletes the remaining images later.
        """
        for task in ended:
            if task.input_key is None:
                continue
            try:
                self._outputs.delete(task.input_key)
            except StoreUnavailable as error:
                logger.warning("task %s: its input image is deleted later: %s", task.id, error.message)
                return


def complete_if_published(task: Task, tasks: WorkerQueries, outputs: OutputStore) -> bool:
    """Complete a task that ran before, if its files exist. Returns whether the task is completed.

    The Encoder publishes the poster first, so a video without a poster is not from an earlier run. The output store
    deletes a staged file after it has seen the whole video. If a staged file of another size remains, the video was
    not verified, and the task is rendered again.
    """
    if task.claim_token == 1:
        return False
    video, poster = output_key(task.id), poster_key(task.id)
    found = outputs.stat(video)
    if found is None or outputs.stat(poster) is None:
        return False
    left = [outputs.stat(staging_key(video, claim)) for claim in range(1, task.claim_token)]
    if any(each is not None and each.size_bytes != found.size_bytes for each in left):
        return False
    output = Output(video, poster, task.rendered_request.duration_s, found.size_bytes)
    return tasks.start_run(task) and tasks.complete(task, output)
