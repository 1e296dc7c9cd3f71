"""What a Dispatcher does beside running tasks: holding on to its own, taking over from the dead, ending the overdue."""

import asyncio
import logging
import math
import time

from deployments import logs
from deployments.dispatcher.leases import DispatcherName, LeaseClock
from deployments.dispatcher.outcomes import Outcomes
from deployments.settings import SQLITE, Settings
from storage.task_store import TaskStore

ORPHAN_CHECK_S = 30.0
LOOK_EVERY_S = 0.9
ENDED_AT_ONCE = 200
"""Between two such lots the loop renews its leases and claims."""
PAUSED = "paused: what runs goes on to its end, no other task begins until `python -m deployments.admin resume`"

logger = logging.getLogger("ray.serve")


class House:
    """The house-keeping of the Dispatcher `name`, which serves `model_name`. All may raise StoreUnavailable."""

    def __init__(
        self,
        settings: Settings,
        name: DispatcherName,
        model_name: str,
        tasks: TaskStore,
        outcomes: Outcomes,
    ) -> None:
        self._settings = settings.dispatcher
        self._orphan_model_timeout_s = settings.orphan_model_timeout_s
        self._one_host = settings.database_url.startswith(SQLITE)
        self._name = name
        self._model_name = model_name
        self._tasks = tasks
        self._outcomes = outcomes
        self._leases = LeaseClock(self._settings.lease_s)
        self._orphans_checked_at = -math.inf
        self._looked_at = -math.inf
        self._paused = False

    async def keep(self) -> None:
        """Do what is due."""
        await self.renew()
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:  # not at each nudge: there may be many a second
            self._looked_at = time.monotonic()
            if self._leases.may_reclaim():
                await asyncio.to_thread(self._reclaim)
            await asyncio.to_thread(self._fail_overdue)
            await asyncio.to_thread(self._tell_pause)
        if time.monotonic() - self._orphans_checked_at > ORPHAN_CHECK_S:
            self._orphans_checked_at = time.monotonic()
            await asyncio.to_thread(self._fail_unserved)

    async def renew(self) -> None:
        """Hold on to what this Dispatcher has claimed, if it is time to say so."""
        if self._leases.due():
            await asyncio.to_thread(self._tasks.renew, str(self._name), self._settings.lease_s)
            self._leases.renewed()

    def _reclaim(self) -> None:
        """Take back what dead dispatchers held; a task that has been through too many restarts ends here."""
        others = [name for name in self._tasks.claimants() if name != str(self._name)]
        dead = [name for name in others if self._is_dead(name)]
        if not others:
            return
        for task in self._tasks.reclaim(dead):
            with logs.about(task):
                self._outcomes.reclaimed(task)
            if task.restarts > self._settings.max_restarts:
                self._outcomes.end(task, self._outcomes.too_many_restarts())

    def _is_dead(self, name: str) -> bool:
        """Whether a claimant is known to be gone. Of a name that another version writes, the lease tells."""
        try:
            return DispatcherName.parse(name).is_dead(one_host=self._one_host)
        except ValueError:
            return False

    def _fail_overdue(self) -> None:
        overdue = self._tasks.fail_overdue(ENDED_AT_ONCE)
        if len(overdue) >= ENDED_AT_ONCE:
            self._looked_at = -math.inf  # there may be more
        for task in overdue:
            with logs.about(task):
                logger.warning("task %s: failed, not done within %g s", task.id, task.request.timeout_s)
        self._outcomes.forget_inputs(overdue)

    def _tell_pause(self) -> None:
        """Say when an operator has paused or resumed claims. The claim itself heeds it, told or not."""
        paused = self._tasks.paused_at() is not None
        if paused != self._paused:
            logger.warning(PAUSED if paused else "resumed: tasks begin again")
        self._paused = paused

    def _fail_unserved(self) -> None:
        unserved = self._tasks.fail_unserved(self._model_name, self._orphan_model_timeout_s, ENDED_AT_ONCE)
        if len(unserved) >= ENDED_AT_ONCE:
            self._orphans_checked_at = -math.inf  # there may be more
        for task in unserved:
            with logs.about(task):
                logger.warning("task %s: failed, nobody serves its model %s", task.id, task.model)
        self._outcomes.forget_inputs(unserved)
