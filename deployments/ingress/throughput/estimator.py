"""How fast tasks go, from those that ended lately: when a task will be done, and when there is room again."""

import math
import time
from dataclasses import dataclass
from statistics import median

from deployments.ingress.throughput.linear_fit import NO_FIT, LinearFit, fit_line
from models.memory.estimate import transformer_calls, transformer_calls_of_steps
from models.progress import Stage
from models.request.request import VideoRequest
from storage.task_store import SqlTaskStore
from storage.tasks import QueuePosition, ReplicaState, State, Task
from storage.ttl_cache import TtlCache

SAMPLE_SIZE = 50
"""Completed tasks that tell the pace."""
CACHE_TTL_S = 5.0
UNKNOWN_RETRY_S = 30
MAX_RETRY_S = 600
BEFORE_FIXED = 0.05
"""The part of a task to the end of its last step that is no step: the text, where all tasks were of one amount."""
AFTER_PART = 0.15
"""The part of a task after its last step, where none that ended tells it; as `progress` has it."""


@dataclass(frozen=True)
class Sample:
    """What a look at the store told, and the Generators that work.

    `before` has a task's seconds to the end of its last step by its pixels x frames x evaluations, `after` those after
    it by its pixels x frames: a decode costs the same after two steps and after forty. `whole` has both together, for
    tasks of versions that did not write down where the one ends. `median_s` is the median of all, whatever their size.
    """

    before_decode: LinearFit = NO_FIT
    after_denoise: LinearFit = NO_FIT
    whole: LinearFit = NO_FIT
    median_s: float | None = None
    generators: int = 1

    @property
    def interval_s(self) -> float | None:
        """How often a task ends while all Generators work."""
        return None if self.median_s is None else self.median_s / self.generators


@dataclass
class ThroughputEstimator:
    """Remembers each look for a few seconds, so that polls cost no more than before."""

    store: SqlTaskStore
    model: str
    fast_guidance_fraction: float

    def __post_init__(self) -> None:
        self._sample = TtlCache(self._take_sample, CACHE_TTL_S)

    def eta_s(self, task: Task, place: QueuePosition | None) -> float | None:
        """About how many seconds from now the task will be done, or None when nobody can know.

        A queued task waits for what begins before it, at the pace of all Generators, or for its owner's own tasks, of
        which no more than `max_running` go side by side: the longer of the two.
        """
        if task.is_finished:
            return None
        measured = self._sample.get()
        if task.state == State.PROCESSING:
            return self._left_s(task, measured)
        own_s, usual_s = self._whole_s(task.rendered_request, measured), measured.median_s
        if own_s is None or usual_s is None:
            return None
        place = place or QueuePosition(1)
        return own_s + usual_s * max(place.position / measured.generators, place.own_rounds)

    def render_s(self, request: VideoRequest) -> float | None:
        """How long a task renders, or None when nothing tells it. `request` is as it is rendered."""
        return self._whole_s(request, self._sample.get())

    def retry_after_s(self) -> int:
        """In how many seconds a place in the queue will be free."""
        interval_s = self._sample.get().interval_s
        return UNKNOWN_RETRY_S if interval_s is None else min(MAX_RETRY_S, max(1, math.ceil(interval_s)))

    def _left_s(self, task: Task, measured: Sample) -> float | None:
        """What is left of a running task: by the speed of its own steps, once one is done."""
        request = task.rendered_request
        whole_s, after_s = self._whole_s(request, measured), measured.after_denoise.seconds(_pixels(request))
        if task.stage in (Stage.DECODING, Stage.ENCODING) and after_s is not None and task.decoding_at is not None:
            return max(0.0, after_s - (time.time() - task.decoding_at))
        if task.stage is not Stage.DENOISING or not task.step or task.rendering_at is None:
            return None if whole_s is None else whole_s * (1 - task.progress)
        if after_s is None and whole_s is None:
            return None
        left_s = self._denoising_left_s(request, task.step, time.time() - task.rendering_at)
        return left_s + (after_s if after_s is not None else (whole_s or 0.0) * AFTER_PART)

    def _whole_s(self, request: VideoRequest, measured: Sample) -> float | None:
        """How long a task of this size takes, or None when nothing tells it."""
        before_s = measured.before_decode.seconds(self._workload(request))
        after_s = measured.after_denoise.seconds(_pixels(request))
        if before_s is None or after_s is None:
            return measured.whole.seconds(self._workload(request))
        return before_s + after_s

    def _denoising_left_s(self, request: VideoRequest, step: int, elapsed_s: float) -> float:
        """What the steps that are left take, if they go as those that are done: the first are guided, and cost more."""
        all_evaluations = transformer_calls(request, self.fast_guidance_fraction)
        done = min(transformer_calls_of_steps(request, self.fast_guidance_fraction, step + 0.5), all_evaluations)
        return elapsed_s * (all_evaluations - done) / done

    def _take_sample(self) -> Sample:
        ended = [task for task in self.store.page([State.COMPLETED], SAMPLE_SIZE) if task.model == self.model]
        taken_s = [_seconds(task) for task in ended]
        own = [each.state for each in self.store.live_replicas() if each.model == self.model]
        return Sample(
            whole=fit_line(
                [(self._workload(task.rendered_request), seconds) for task, seconds in zip(ended, taken_s, strict=True)]
            ),
            before_decode=fit_line(
                [
                    (self._workload(each.rendered_request), until)
                    for each in ended
                    if (until := _before_s(each)) is not None
                ],
                untold_fixed=BEFORE_FIXED,
            ),
            after_denoise=fit_line(
                [(_pixels(each.rendered_request), since) for each in ended if (since := _after_s(each)) is not None]
            ),
            median_s=median(taken_s) if taken_s else None,
            generators=max(1, own.count(ReplicaState.READY)),
        )

    def _workload(self, request: VideoRequest) -> float:
        """Pixels, frames, and how often the transformer looks at them."""
        return _pixels(request) * transformer_calls(request, self.fast_guidance_fraction)


def _pixels(request: VideoRequest) -> float:
    return float(request.height * request.width * request.num_rendered_frames)


def _seconds(task: Task) -> float:
    """How long a task took once the model was there."""
    return max(0.0, (task.finished_at or 0.0) - (task.rendering_at or task.started_at or 0.0))


def _before_s(task: Task) -> float | None:
    """How long it took to the end of its last step; None for tasks of versions that did not write it down."""
    if task.decoding_at is None:
        return None
    return max(0.0, task.decoding_at - (task.rendering_at or task.started_at or 0.0))


def _after_s(task: Task) -> float | None:
    """How long it took from the end of its last step; None for tasks of versions that did not write it down."""
    return None if task.decoding_at is None else max(0.0, (task.finished_at or 0.0) - task.decoding_at)
