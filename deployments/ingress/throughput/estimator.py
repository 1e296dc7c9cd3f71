"""Estimates when a task ends and when the queue has capacity again, from recently completed tasks."""

import math
import threading
import time
from dataclasses import dataclass, field
from statistics import median

from deployments.ingress.throughput.linear_fit import NO_FIT, LinearFit, fit_line
from models.memory.estimate import transformer_calls, transformer_calls_of_steps
from models.progress import Stage
from models.request.request import VideoRequest
from storage.task_store import TaskStore
from storage.tasks import QueuePosition, ReplicaState, State, Task

SAMPLE_SIZE = 50
"""Maximum number of completed tasks in a sample."""
CACHE_TTL_S = 5.0
UNKNOWN_RETRY_S = 30
MAX_RETRY_S = 600
BEFORE_FIXED = 0.05
"""Fixed fraction of the time up to the last step (text encoding), if all sampled tasks had the same workload."""
AFTER_PART = 0.15
"""Fraction of a task's time after its last step, if no sampled task recorded it. `progress` uses the same fraction."""


@dataclass(frozen=True)
class Sample:
    """Times of recently completed tasks, and the number of ready Generators.

    `before_decode` maps pixels x frames x transformer evaluations to the seconds up to the end of the last step.
    `after_denoise` maps pixels x frames to the seconds after it, because decoding costs the same after two steps as
    after forty. `whole` covers both, for tasks of versions that did not record the end of the last step. `median_s` is
    the median of all tasks, of any size.
    """

    before_decode: LinearFit = NO_FIT
    after_denoise: LinearFit = NO_FIT
    whole: LinearFit = NO_FIT
    median_s: float | None = None
    generators: int = 1

    @property
    def interval_s(self) -> float | None:
        """Typical seconds between two completed tasks while all Generators work."""
        return None if self.median_s is None else self.median_s / self.generators


@dataclass
class ThroughputEstimator:
    """Estimates times. Caches each sample for CACHE_TTL_S seconds, so that polls cause few extra queries."""

    store: TaskStore
    model: str
    fast_guidance_fraction: float
    _measured: Sample = Sample()
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def eta_s(self, task: Task, place: QueuePosition | None) -> float | None:
        """Return the estimated seconds until the task is done; None if it has ended or nothing is known.

        A queued task waits for the tasks before it, at the pace of all Generators, or for tasks of its own owner, of
        which at most `max_running` run at once. The estimate uses the longer wait.
        """
        if task.is_finished:
            return None
        measured = self._sample()
        if task.state == State.PROCESSING:
            return self._left_s(task, measured)
        own_s, usual_s = self._whole_s(task.rendered_request, measured), measured.median_s
        if own_s is None or usual_s is None:
            return None
        place = place or QueuePosition(1)
        return own_s + usual_s * max(place.position / measured.generators, place.own_rounds)

    def render_s(self, request: VideoRequest) -> float | None:
        """Return the render time in seconds; None if unknown. `request` must be adjusted to the model."""
        return self._whole_s(request, self._sample())

    def retry_after_s(self) -> int:
        """Return the seconds until a place in the queue is likely free: 1 to 600, or 30 if unknown."""
        interval_s = self._sample().interval_s
        return UNKNOWN_RETRY_S if interval_s is None else min(MAX_RETRY_S, max(1, math.ceil(interval_s)))

    def _left_s(self, task: Task, measured: Sample) -> float | None:
        """Return the seconds left for a running task. Once a step is done, the speed of its own steps is used."""
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
        """Return the seconds for a task of this size; None if unknown."""
        before_s = measured.before_decode.seconds(self._workload(request))
        after_s = measured.after_denoise.seconds(_pixels(request))
        if before_s is None or after_s is None:
            return measured.whole.seconds(self._workload(request))
        return before_s + after_s

    def _denoising_left_s(self, request: VideoRequest, step: int, elapsed_s: float) -> float:
        """Return the seconds of the remaining steps, from the finished ones. The guided first steps cost more."""
        all_evaluations = transformer_calls(request, self.fast_guidance_fraction)
        done = min(transformer_calls_of_steps(request, self.fast_guidance_fraction, step + 0.5), all_evaluations)
        return elapsed_s * (all_evaluations - done) / done

    def _sample(self) -> Sample:
        with self._lock:
            if time.monotonic() >= self._until:
                self._measured = self._take_sample()
                self._until = time.monotonic() + CACHE_TTL_S
            return self._measured

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
        """Return pixels x frames x transformer evaluations."""
        return _pixels(request) * transformer_calls(request, self.fast_guidance_fraction)


def _pixels(request: VideoRequest) -> float:
    return float(request.height * request.width * request.num_rendered_frames)


def _seconds(task: Task) -> float:
    """Return the seconds from the start of rendering to the end. Loading the model is not included."""
    return max(0.0, (task.finished_at or 0.0) - (task.rendering_at or task.started_at or 0.0))


def _before_s(task: Task) -> float | None:
    """Return the seconds up to the end of the last step; None for tasks of versions that did not record it."""
    if task.decoding_at is None:
        return None
    return max(0.0, task.decoding_at - (task.rendering_at or task.started_at or 0.0))


def _after_s(task: Task) -> float | None:
    """Return the seconds after the end of the last step; None for tasks of versions that did not record it."""
    return None if task.decoding_at is None else max(0.0, (task.finished_at or 0.0) - task.decoding_at)
