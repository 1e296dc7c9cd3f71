"""Estimates from recently completed tasks when a task will end, and when the queue will have a free place."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from deployments.ingress.throughput.linear_fit import NO_FIT, LinearFit, fit_line
from models.memory.estimate import transformer_calls, transformer_calls_of_steps
from models.progress import Stage
from models.request.control import control_share
from models.request.loras import KnownLora
from models.request.request import VideoRequest
from storage.task_store import SqlTaskStore
from storage.tasks import QueuePosition, ReplicaState, State, Task
from storage.ttl_cache import TtlCache

SAMPLE_SIZE = 50
"""The number of completed tasks that an estimate uses."""
CACHE_TTL_S = 5.0
UNKNOWN_RETRY_S = 30
MAX_RETRY_S = 600
BEFORE_FIXED = 0.05
"""The fraction of the time up to the last denoising step that is not spent in steps: encoding the text.

Used where all sampled tasks have the same amount of work.
"""
AFTER_PART = 0.15
"""The fraction of a task after its last step, where no completed task has a measurement. `progress` uses the same."""


STEPPING = (Stage.DENOISING, Stage.REFINING)
"""The stages that report steps."""


@dataclass(frozen=True)
class Sample:
    """Fits of the recently completed tasks, and the number of Generators that are ready.

    - `before_decode`: seconds up to the end of the last step, by pixels x frames x transformer evaluations.
    - `after_denoise`: seconds after the last step, by pixels x frames. A decode takes the same time after 2 steps and
      after 40.
    - `whole`: both together, for tasks of versions that did not record the end of the last step.
    - `median_s`: the median duration of all sampled tasks, of any size.
    """

    before_decode: LinearFit = NO_FIT
    after_denoise: LinearFit = NO_FIT
    whole: LinearFit = NO_FIT
    median_s: float | None = None
    generators: int = 1

    @property
    def interval_s(self) -> float | None:
        """Seconds between the ends of two tasks while all Generators work."""
        return None if self.median_s is None else self.median_s / self.generators


@dataclass
class ThroughputEstimator:
    """Estimates durations of tasks. Caches each sample for CACHE_TTL_S, so that not every poll reads it anew."""

    store: SqlTaskStore
    model: str
    fast_guidance_fraction: float
    known_loras: Mapping[str, KnownLora] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sample = TtlCache(self._take_sample, CACHE_TTL_S)

    def eta_s(self, task: Task, place: QueuePosition | None) -> float | None:
        """The estimated seconds from now until the task is done; None without an estimate.

        The wait of a queued task is the longer of two:

        - the tasks that begin before it, divided among all Generators;
        - the tasks of the same owner, of which at most `max_running` run at once.
        """
        if task.is_finished:
            return None
        measured = self._sample.get()
        if task.state == State.PROCESSING:
            return self._left_s(task, measured)
        own_s, usual_s = self._whole_s(task.rendered_part, measured), measured.median_s
        if own_s is None or usual_s is None:
            return None
        place = place or QueuePosition(1)
        return own_s + usual_s * max(place.position / measured.generators, place.own_rounds)

    def render_s(self, request: VideoRequest) -> float | None:
        """The estimated rendering time in seconds; None without an estimate. `request` is the part that is rendered."""
        return self._whole_s(request, self._sample.get())

    def retry_after_s(self) -> int:
        """Estimated seconds until the queue has a free place."""
        interval_s = self._sample.get().interval_s
        return UNKNOWN_RETRY_S if interval_s is None else min(MAX_RETRY_S, max(1, math.ceil(interval_s)))

    def _left_s(self, task: Task, measured: Sample) -> float | None:
        """The remaining seconds of a running task. After its first step, the speed of its own steps is used."""
        request = task.rendered_part
        whole_s, after_s = self._whole_s(request, measured), measured.after_denoise.seconds(_pixels(request))
        if task.stage in (Stage.DECODING, Stage.ENCODING) and after_s is not None and task.decoding_at is not None:
            return max(0.0, after_s - (time.time() - task.decoding_at))
        if task.stage not in STEPPING or not task.step or task.rendering_at is None:
            return None if whole_s is None else whole_s * (1 - task.progress)
        if after_s is None and whole_s is None:
            return None
        refined = task.step if task.stage is Stage.REFINING else None
        left_s = self._denoising_left_s(request, task.step, time.time() - task.rendering_at, refined)
        return left_s + (after_s if after_s is not None else (whole_s or 0.0) * AFTER_PART)

    def _whole_s(self, request: VideoRequest, measured: Sample) -> float | None:
        """The estimated duration of a whole task of this size; None without an estimate."""
        before_s = measured.before_decode.seconds(self._workload(request))
        after_s = measured.after_denoise.seconds(_pixels(request))
        if before_s is None or after_s is None:
            return measured.whole.seconds(self._workload(request))
        return before_s + after_s

    def _denoising_left_s(self, request: VideoRequest, step: int, elapsed_s: float, refined: int | None) -> float:
        """The remaining seconds of denoising, at the speed of the finished evaluations.

        Steps are not counted alike: the first steps use guidance and take longer, and `refined` steps of a second
        stage have more tokens.
        """
        fraction, all_steps = self.fast_guidance_fraction, request.num_inference_steps
        all_evaluations = transformer_calls(request, fraction)
        done = (
            transformer_calls_of_steps(request, fraction, step + 0.5)
            if refined is None
            else transformer_calls_of_steps(request, fraction, all_steps) + refined + 0.5
        )
        done = min(done, all_evaluations)
        return elapsed_s * (all_evaluations - done) / done

    def _take_sample(self) -> Sample:
        ended = [task for task in self.store.page([State.COMPLETED], SAMPLE_SIZE) if task.model == self.model]
        taken_s = [_seconds(task) for task in ended]
        own = [each.state for each in self.store.live_replicas() if each.model == self.model]
        return Sample(
            whole=fit_line(
                [(self._workload(task.rendered_part), seconds) for task, seconds in zip(ended, taken_s, strict=True)]
            ),
            before_decode=fit_line(
                [
                    (self._workload(each.rendered_part), until)
                    for each in ended
                    if (until := _before_s(each)) is not None
                ],
                untold_fixed=BEFORE_FIXED,
            ),
            after_denoise=fit_line(
                [(_pixels(each.rendered_part), since) for each in ended if (since := _after_s(each)) is not None]
            ),
            median_s=median(taken_s) if taken_s else None,
            generators=max(1, own.count(ReplicaState.READY)),
        )

    def _workload(self, request: VideoRequest) -> float:
        """The amount of work: pixels x frames x transformer evaluations. Those with a control video count for more."""
        calls, fraction = transformer_calls(request, self.fast_guidance_fraction), self.fast_guidance_fraction
        if share := control_share(request, self.known_loras):
            calls += share * transformer_calls_of_steps(request, fraction, request.num_inference_steps)
        return _pixels(request) * calls


def _pixels(request: VideoRequest) -> float:
    return float(request.height * request.width * request.num_rendered_frames)


def _seconds(task: Task) -> float:
    """Seconds that a task took after its model was loaded."""
    return max(0.0, (task.finished_at or 0.0) - (task.rendering_at or task.started_at or 0.0))


def _before_s(task: Task) -> float | None:
    """Seconds up to the end of the last step; None for tasks of versions that did not record it."""
    if task.decoding_at is None:
        return None
    return max(0.0, task.decoding_at - (task.rendering_at or task.started_at or 0.0))


def _after_s(task: Task) -> float | None:
    """Seconds after the end of the last step; None for tasks of versions that did not record it."""
    return None if task.decoding_at is None else max(0.0, (task.finished_at or 0.0) - task.decoding_at)
