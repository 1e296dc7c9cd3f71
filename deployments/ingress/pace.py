"""How fast tasks go, from those that ended lately: when a task will be done, and when there is room again."""

import math
import threading
import time
from dataclasses import dataclass, field
from statistics import median

from models.choices import Quality
from models.estimate import evaluations
from models.request import VideoRequest
from storage.task_store import TaskStore
from storage.tasks import Place, ReplicaState, State, Task

LOOKED_AT = 50
"""Completed tasks that tell the pace."""
REMEMBERED_S = 5.0
UNKNOWN_RETRY_S = 30
MAX_RETRY_S = 600


@dataclass(frozen=True)
class Work:
    """What makes two tasks take about the same time: pixels, frames, and how often the transformer looks at them."""

    height: int
    width: int
    num_frames: int
    evaluations: int
    quality: Quality

    @property
    def amount(self) -> int:
        """How much it is, beside another."""
        return self.height * self.width * self.num_frames * self.evaluations


@dataclass(frozen=True)
class Measured:
    """What a look at the store told: seconds of tasks by what was asked for, and the Generators that work."""

    tasks: tuple[tuple[Work, float], ...] = ()
    generators: int = 1

    def seconds(self, work: Work) -> float | None:
        """The median of tasks like this one; without any, by the work of the others; None when nothing ended yet."""
        if alike := [seconds for other, seconds in self.tasks if other == work]:
            return median(alike)
        if not self.tasks:
            return None
        return work.amount * median(seconds / other.amount for other, seconds in self.tasks)

    @property
    def usual_s(self) -> float | None:
        """The median of all tasks, whatever their size."""
        return median(seconds for _, seconds in self.tasks) if self.tasks else None

    @property
    def interval_s(self) -> float | None:
        """How often a task ends while all Generators work."""
        return None if self.usual_s is None else self.usual_s / self.generators


@dataclass
class Pace:
    """Remembers each look for a few seconds, so that polls cost no more than before."""

    store: TaskStore
    model: str
    fast_guided_share: float
    _measured: Measured = Measured()
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def eta_s(self, task: Task, place: Place | None) -> float | None:
        """About how many seconds from now the task will be done, or None when nobody can know.

        A queued task waits for what begins before it, at the pace of all Generators, or for its owner's own tasks, of
        which no more than `max_running` go side by side: the longer of the two.
        """
        if task.finished:
            return None
        measured = self._look()
        own_s, usual_s = measured.seconds(self._work(task.rendered_request)), measured.usual_s
        if own_s is None or usual_s is None:
            return None
        if task.state == State.PROCESSING:
            return own_s * (1 - task.progress)
        place = place or Place(1)
        return own_s + usual_s * max(place.number / measured.generators, place.own_rounds)

    def seconds(self, request: VideoRequest) -> float | None:
        """How long a task renders, or None when nothing ended yet. `request` is as it is rendered."""
        return self._look().seconds(self._work(request))

    def retry_after_s(self) -> int:
        """In how many seconds a place in the queue will be free."""
        interval_s = self._look().interval_s
        return UNKNOWN_RETRY_S if interval_s is None else min(MAX_RETRY_S, max(1, math.ceil(interval_s)))

    def _look(self) -> Measured:
        with self._lock:
            if time.monotonic() >= self._until:
                self._measured = self._measure()
                self._until = time.monotonic() + REMEMBERED_S
            return self._measured

    def _measure(self) -> Measured:
        ended = self.store.page([State.COMPLETED], LOOKED_AT)
        timed = tuple((self._work(task.rendered_request), _seconds(task)) for task in ended if task.model == self.model)
        own = [each.state for each in self.store.live_replicas() if each.model == self.model]
        return Measured(timed, max(1, own.count(ReplicaState.READY)))

    def _work(self, request: VideoRequest) -> Work:
        frames, looks = request.num_rendered_frames, evaluations(request, self.fast_guided_share)
        return Work(request.height, request.width, frames, looks, request.quality)


def _seconds(task: Task) -> float:
    """How long a task took once the model was there."""
    return (task.finished_at or 0.0) - (task.rendering_at or task.started_at or 0.0)
