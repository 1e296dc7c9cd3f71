"""The Generator: the replica that holds the model. A task goes in, a clip comes out.

Its constructor neither loads nor raises: Serve gives a deployment up for good after three failed starts. It begins
to import and to read ahead (`models/warm_up.py`), for a replica starts because a task waits. The model loads with the
first task; a failed load is that task's error, and the next task tries again.
"""

import logging
import os
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace

from deployments import logs
from deployments.generator.fitting import adjust, check_room, read_picture, write_length
from deployments.generator.hearing import Hearing
from deployments.generator.learned import Learned
from deployments.generator.meter import Meter
from deployments.generator.policy import SUPERSEDED
from deployments.generator.presence import Presence
from deployments.generator.reports import Reporter
from deployments.generator.residence import Residence, idle_s
from deployments.generator.supersession import Supersession
from deployments.generator.turns import Turns, Wanted
from deployments.generator.waiting_clips import WaitingClips
from deployments.generator.watch import Watch
from deployments.metrics.metrics import NO_METRICS, Metrics
from deployments.metrics.table import DECODES_AGAIN, GPU_MEMORY_BYTES, GPU_MEMORY_PEAK_BYTES
from deployments.settings import Settings
from deployments.traces import open_traces
from models.clip import Clip
from models.device_faults import find_fault
from models.errors import RenderFailed, StoreUnavailable, TaskCancelled, VideoError
from models.memory import GpuMemory, read_gpu_memory
from models.progress import Progress, Stage
from models.request import VideoRequest
from models.speedup_choice import Speedup
from models.stopwatch import Lap, Stopwatch
from models.timeline import Mark
from storage.apps import SqlAppStore
from storage.database import open_engine
from storage.outputs import open_output_store
from storage.task_store import SqlTaskStore
from storage.tasks import Task

SHORTEST_SPAN_S = 0.001

logger = logging.getLogger("ray.serve")


class Generator:
    """Renders one task at a time. `model` and `device` are what the app resolved `auto` to, `app` is its number."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        model_name: str,
        device: str,
        *,
        app: int = 0,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        logs.mark_lines()
        settings = settings.with_secrets()
        self._settings = settings
        self._metrics = metrics
        metrics.start_at_zero(DECODES_AGAIN)
        self._traces = open_traces(settings.traces, "Generator")
        engine = open_engine(settings.database_url)
        self._tasks = SqlTaskStore(engine)
        self._outputs = open_output_store(settings.outputs.url, settings.outputs.s3)
        self._meter = Meter(self._tasks)
        self._waiting_clips = WaitingClips(self._tasks, settings.generator.max_waiting_clip_bytes)
        self._gpu_memory: GpuMemory | None = None
        self._watch = Watch(settings.generator.stall_timeout_s, settings.generator.load_timeout_s)
        self._presence = Presence(self._tasks, model_name, self._at_each_beat)
        self._learned = Learned(self._tasks, model_name)
        self._supersession = Supersession(SqlAppStore(engine), app, model_name)
        self._residence = Residence(settings, model, device, self._presence, self._learned.note)
        self._turns = Turns(idle_s(settings.generator.sleep_after_s, device), self._fall_asleep)
        self._presence.begin()

    def generate(self, task: Task) -> Clip:
        """Render a task. Holds the GPU from the first denoising step to the last decoded frame.

        Raises TaskCancelled when the task is not this claim's any more, and VideoError for all that goes wrong.
        """
        with self._turns.take(), logs.about(task):
            self._watch.hold_if_broken()
            if not self._tasks.start(task):
                raise TaskCancelled("the task was canceled, or taken over by another worker")
            hearing = self._hearing(task)
            try:
                return self._render(task, hearing)
            except TaskCancelled:
                raise
            except Exception as error:
                self._look_for_fault(error)
                if isinstance(error, VideoError):
                    raise
                raise RenderFailed(f"{type(error).__name__}: {error}") from error
            finally:
                hearing.close()

    async def check_health(self) -> None:
        """End the process when a stage hangs or the GPU is broken; Serve replaces the replica.

        A coroutine, because Serve runs plain methods in as many threads as it lets requests in, and all of them may
        hang. Raising would not do: Serve stops an unhealthy replica gracefully, and that waits for the very call
        that hangs (2.60, unless RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS is set where Ray starts).
        """
        if reason := self._watch.verdict():
            logger.error("this replica ends: %s", reason)
            logging.shutdown()
            os._exit(1)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell GeneratorPolicy whether a newer server wants the GPU. Serve calls it some times a second."""
        return {SUPERSEDED: float(self._supersession.known)}

    def __del__(self) -> None:
        """Say that this replica is gone."""
        with suppress(StoreUnavailable, AttributeError):
            self._presence.end()
            self._residence.end()
            self._turns.end()
            self._meter.write()
            self._presence.withdraw()
        with suppress(AttributeError):
            self._traces.close()

    def _hearing(self, task: Task) -> Hearing:
        reporter = Reporter(self._tasks, task, self._meter.write_if_worth_it)
        stopwatch, timeline = Stopwatch(tell=self._teller(task)), self._residence.timeline
        return Hearing(reporter, stopwatch, timeline, self._watch, self._presence, self._waiting_clips)

    def _teller(self, task: Task) -> Callable[[Lap, float], None]:
        """Makes a span of each lap; those of no length are between two reports, and nothing is in them."""

        def tell(lap: Lap, seconds: float) -> None:
            if seconds >= SHORTEST_SPAN_S:
                self._traces.record(lap, task.origin.traceparent, seconds)

        return tell

    def _render(self, task: Task, hearing: Hearing) -> Clip:
        cold, timeline = self._residence.model is None, self._residence.timeline
        timeline.mark(Mark.TASK)
        hearing(Progress(Stage.STARTING))
        picture = read_picture(task, self._outputs)
        model = self._residence.find(hearing)
        started = time.monotonic()
        task = adjust(task, model, self._tasks)
        hearing.reporter.carry(task)
        check_room(task, model, self._settings.limits)
        if Speedup.COMPILE in model.speedups:
            self._watch.expect_compiling(_kind(task.rendered_request, from_image=picture is not None))
        with self._meter.running(task.owner):
            clip = model.render(task.request, picture, hearing)
        if model.left_out:
            logger.info("task %s: quality fast: %s", task.id, model.left_out)
        for part in model.decoded_again:
            logger.warning("task %s: ran out of memory when it was decoded, and was decoded again: %s", task.id, part)
            self._metrics.add(DECODES_AGAIN)
        write_length(task, clip, self._tasks)
        self._waiting_clips.add(task, clip.size_bytes)
        hearing(Progress(Stage.ENCODING, task.rendered_request.num_inference_steps))
        logger.info("task %s: rendered in %.1f s", task.id, time.monotonic() - started)
        self._gpu_memory = read_gpu_memory()
        self._show_gpu_memory()
        marks = {str(mark): at for mark, at in timeline.marks.items()} if cold else {}
        return replace(clip, timings=replace(hearing.stopwatch.timings, cold_start=marks))

    def _fall_asleep(self, wanted: Wanted) -> None:
        """In the idle thread. What goes wrong leaves weights on both sides, and a wake collects them."""
        self._watch.saw(Stage.LOADING)  # a task that waits for the turn is watched by nobody
        try:
            self._residence.fall_asleep(wanted)
        except Exception as error:
            logger.warning("the weights could not all be moved to host memory: %s", error)
            self._look_for_fault(error)
        finally:
            self._watch.stop()

    def _look_for_fault(self, error: Exception) -> None:
        if fault := find_fault(error):
            self._watch.broke(fault)

    def _at_each_beat(self) -> None:
        self._meter.write()
        self._learned.write()
        self._supersession.look()
        self._show_gpu_memory()

    def _show_gpu_memory(self) -> None:
        """Ray passes a gauge on once: what is to stay is shown with every heartbeat."""
        if self._gpu_memory is not None:
            self._metrics.set(GPU_MEMORY_PEAK_BYTES, self._gpu_memory.peak_bytes)
            self._metrics.set(GPU_MEMORY_BYTES, self._gpu_memory.total_bytes)


def _kind(request: VideoRequest, *, from_image: bool) -> Hashable:
    """What the graphs that a render compiles depend on, as far as a request tells."""
    guided = (request.reads_negative_prompt, request.stg_scale_video > 0, request.modality_scale > 1)
    return request.height, request.width, request.num_frames, request.length, request.quality, *guided, from_image
