"""The queue gauges. Only the leading Dispatcher of the app exports them; the others export 0.

Aggregate them with max(), not sum(): Ray keeps exporting a dead Dispatcher's last values for a while.
"""

import time
from collections import Counter
from collections.abc import Mapping

from deployments.observability.metrics.definitions import (
    GENERATOR,
    GENERATORS,
    OLDEST_QUEUED_AGE_SECONDS,
    PAUSED,
    QUEUE_SAMPLED_TIMESTAMP_SECONDS,
    STATE,
    TASKS,
)
from deployments.observability.metrics.recorder import MetricsRecorder
from storage.task_store import SqlTaskStore

SAMPLE_INTERVAL_S = 5.0
"""Two samples in each of Ray's 10 s export intervals."""


class QueueGauges:
    """Counts the tasks and Generators of `model`."""

    def __init__(self, tasks: SqlTaskStore, model: str, metrics: MetricsRecorder) -> None:
        self._tasks = tasks
        self._model = model
        self._metrics = metrics
        self._taken_at = -SAMPLE_INTERVAL_S

    def publish_if_due(self, *, mine: bool) -> None:
        """Set the gauges if it is time: to the current values if this Dispatcher leads (`mine`), else to 0.

        Blocks. Raises StoreUnavailable and leaves the gauges unchanged.
        """
        if time.monotonic() - self._taken_at < SAMPLE_INTERVAL_S:
            return
        self._taken_at = time.monotonic()
        if mine:
            self._sample()
        else:
            self._publish({}, {})
            self._publish_pause(oldest_queued_s=0.0, paused=False, at_s=0.0)

    def _sample(self) -> None:
        found = self._tasks.count_queue(self._model)
        generators = Counter(each.state.value for each in self._tasks.live_replicas() if each.model == self._model)
        paused = self._tasks.paused_at() is not None
        self._publish(found.counts_by_stage, generators)
        self._publish_pause(oldest_queued_s=found.oldest_queued_s or 0.0, paused=paused, at_s=time.time())

    def _publish(self, places: Mapping[str, int], generators: Mapping[str, int]) -> None:
        for state in STATE.values:
            self._metrics.set(TASKS, places.get(state, 0), state=state)
        for state in GENERATOR.values:
            self._metrics.set(GENERATORS, generators.get(state, 0), state=state)

    def _publish_pause(self, *, oldest_queued_s: float, paused: bool, at_s: float) -> None:
        self._metrics.set(OLDEST_QUEUED_AGE_SECONDS, oldest_queued_s)
        self._metrics.set(PAUSED, float(paused))
        self._metrics.set(QUEUE_SAMPLED_TIMESTAMP_SECONDS, at_s)
