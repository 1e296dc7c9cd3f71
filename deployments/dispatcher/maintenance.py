"""Periodic work of a Dispatcher: renews leases, requeues tasks of dead Dispatchers, fails overdue tasks."""

import asyncio
import logging
import math
import time

from deployments.dispatcher.leases import DispatcherId, LeaseTimer
from deployments.dispatcher.outcomes import OutcomeHandler
from deployments.observability import log_context
from deployments.settings import Settings
from storage.task_store import SqlTaskStore

ORPHAN_CHECK_S = 30.0
CHECK_INTERVAL_S = 0.9
BATCH_SIZE = 200
"""Tasks failed in one batch. The loop renews its leases and claims between two batches."""
PAUSED = "paused: running tasks continue, no other task starts until `python -m deployments.cli.admin resume`"

logger = logging.getLogger("ray.serve")


class Maintenance:
    """Periodic work of the Dispatcher `name`, which serves `model_name`. All methods may raise StoreUnavailable."""

    def __init__(
        self,
        settings: Settings,
        name: DispatcherId,
        model_name: str,
        tasks: SqlTaskStore,
        outcomes: OutcomeHandler,
    ) -> None:
        self._settings = settings.dispatcher
        self._orphan_model_timeout_s = settings.unserved_model_timeout_s
        self._one_host = settings.uses_sqlite
        self._name = name
        self._model_name = model_name
        self._tasks = tasks
        self._outcomes = outcomes
        self._leases = LeaseTimer(self._settings.lease_s)
        self._orphans_checked_at = -math.inf
        self._looked_at = -math.inf
        self._paused = False

    async def run_due(self) -> None:
        """Run every job that is due."""
        await self.renew_leases()
        if time.monotonic() - self._looked_at > CHECK_INTERVAL_S:  # there may be many nudges per second
            self._looked_at = time.monotonic()
            if self._leases.may_reclaim():
                await asyncio.to_thread(self._reclaim)
            await asyncio.to_thread(self._fail_overdue)
            await asyncio.to_thread(self._log_pause)
        if time.monotonic() - self._orphans_checked_at > ORPHAN_CHECK_S:
            self._orphans_checked_at = time.monotonic()
            await asyncio.to_thread(self._fail_unserved)

    async def renew_leases(self) -> None:
        """Renew the leases of this Dispatcher's tasks, if it is time."""
        if self._leases.should_renew():
            await asyncio.to_thread(self._tasks.renew_leases, str(self._name), self._settings.lease_s)
            self._leases.mark_renewed()

    def _reclaim(self) -> None:
        """Requeue tasks of dead Dispatchers. A task that was requeued too often fails."""
        others = [name for name in self._tasks.list_dispatchers() if name != str(self._name)]
        dead = [name for name in others if self._is_dead(name)]
        if not others:
            return
        for task in self._tasks.reclaim(dead):
            with log_context.bind_task(task):
                self._outcomes.record_reclaimed(task)
            if task.requeues > self._settings.max_requeues:
                self._outcomes.record_end(task, self._outcomes.too_many_restarts())

    def _is_dead(self, name: str) -> bool:
        """Whether a Dispatcher is known to be gone. For a name in another version's format, only its lease decides."""
        try:
            return DispatcherId.parse(name).is_dead(one_host=self._one_host)
        except ValueError:
            return False

    def _fail_overdue(self) -> None:
        overdue = self._tasks.fail_overdue(BATCH_SIZE)
        if len(overdue) >= BATCH_SIZE:
            self._looked_at = -math.inf  # there may be more
        for task in overdue:
            with log_context.bind_task(task):
                logger.warning("task %s: failed, not done within %g s", task.id, task.request.timeout_s)
        self._outcomes.delete_inputs(overdue)

    def _log_pause(self) -> None:
        """Log when an operator has paused or resumed claims. The SQL of a claim checks the pause itself."""
        paused = self._tasks.paused_at() is not None
        if paused != self._paused:
            logger.warning(PAUSED if paused else "resumed: tasks start again")
        self._paused = paused

    def _fail_unserved(self) -> None:
        unserved = self._tasks.fail_unserved(self._model_name, self._orphan_model_timeout_s, BATCH_SIZE)
        if len(unserved) >= BATCH_SIZE:
            self._orphans_checked_at = -math.inf  # there may be more
        for task in unserved:
            with log_context.bind_task(task):
                logger.warning("task %s: failed, no server has its model %s", task.id, task.model)
        self._outcomes.delete_inputs(unserved)
