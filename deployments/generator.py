"""The Generator: the replica that holds the model. A task goes in, a clip comes out.

Its constructor neither loads nor raises: Serve gives a deployment up for good after three failed starts. It begins
to import and to read ahead (`models/warm_up.py`), for a replica starts because a task waits. The model loads with the
first task; a failed load is that task's error, and the next task tries again.
"""

import io
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployments import logs
from deployments.meter import Meter
from deployments.metrics.metrics import NO_METRICS, Metrics
from deployments.metrics.table import GPU_MEMORY_BYTES, GPU_MEMORY_PEAK_BYTES
from deployments.reports import Reporter
from deployments.settings import Settings
from deployments.traces import open_traces
from deployments.turns import Turns, Wanted
from deployments.waiting_clips import WaitingClips
from deployments.watch import Watch
from models.adjustments import chosen_length
from models.clip import Clip
from models.device_faults import broken_device
from models.errors import ModelUnavailable, RenderFailed, StoreUnavailable, TaskCancelled, VideoError
from models.estimate import check_fits
from models.memory import GpuMemory, read_gpu_memory
from models.options import LoadOptions
from models.progress import Progress, ReportProgress, Stage
from models.stopwatch import Lap, Stopwatch
from models.timeline import Mark, Timeline
from models.warm_up import WarmUp
from storage.outputs import open_output_store
from storage.task_store import SqlTaskStore
from storage.tasks import Replica, ReplicaState, ServedModel, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from models.ltx2 import Ltx2

HEARTBEAT_S = 5.0
SLEEP_AFTER_S = 120.0
"""What `generator.sleep_after_s: auto` means."""
ROOM_CHECK_S = 0.25
SHORTEST_SPAN_S = 0.001
STATE_OF_STAGE = {Stage.DOWNLOADING: ReplicaState.DOWNLOADING, Stage.LOADING: ReplicaState.LOADING}

logger = logging.getLogger("ray.serve")


class Generator:
    """Renders one task at a time. `model` and `device` are what the app resolved `auto` to."""

    def __init__(
        self, settings: Settings, model: str, model_name: str, device: str, *, metrics: Metrics = NO_METRICS
    ) -> None:
        logs.mark_lines()
        self._settings = settings
        self._source = model
        self._model_name = model_name
        self._device = device
        self._metrics = metrics
        self._traces = open_traces(settings.traces, "Generator")
        self._tasks = SqlTaskStore.open(settings.database_url)
        self._outputs = open_output_store(settings.outputs.url, settings.outputs.s3)
        self._meter = Meter(self._tasks)
        self._waiting_clips = WaitingClips(self._tasks, settings.generator.max_waiting_clip_bytes)
        self._model: Ltx2 | None = None
        self._turns = Turns(_idle_s(settings.generator.sleep_after_s, device), self._fall_asleep)
        self._gpu_memory: GpuMemory | None = None
        self._watch = Watch(settings.generator.stall_timeout_s, settings.generator.load_timeout_s)
        self._replica = Replica(uuid.uuid4().hex, model_name, ReplicaState.UNLOADED)
        self._ended, self._beat_now = threading.Event(), threading.Event()
        self._timeline = Timeline()
        self._warm_up = WarmUp(model, Path(settings.cache_dir), device, self._timeline)
        self._warm_up.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def generate(self, task: Task) -> Clip:
        """Render a task. Holds the GPU from the first denoising step to the last decoded frame.

        Raises TaskCancelled when the task is not this claim's any more, and VideoError for all that goes wrong.
        """
        with self._turns.take(), logs.about(task):
            self._watch.hold_if_broken()
            if not self._tasks.start(task):
                raise TaskCancelled("the task was canceled, or taken over by another worker")
            reporter, stopwatch = Reporter(self._tasks, task), Stopwatch(tell=self._teller(task))
            try:
                return self._render(task, reporter, stopwatch)
            except Exception as error:
                if fault := broken_device(error):
                    self._watch.broke(fault)
                if isinstance(error, VideoError):
                    raise
                raise RenderFailed(f"{type(error).__name__}: {error}") from error
            finally:
                stopwatch.begin(None)
                reporter.close()
                self._watch.stop()
                self._beat_now.set()

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

    def __del__(self) -> None:
        """Say that this replica is gone."""
        self._ended.set()
        self._beat_now.set()
        with suppress(StoreUnavailable, AttributeError):
            self._warm_up.end()
            self._turns.end()
            self._meter.write()
            self._tasks.drop_replica(self._replica.id)
        with suppress(AttributeError):
            self._traces.close()

    def _teller(self, task: Task) -> Callable[[Lap, float], None]:
        """Makes a span of each lap; those of no length are between two reports, and nothing is in them."""

        def tell(lap: Lap, seconds: float) -> None:
            if seconds >= SHORTEST_SPAN_S:
                self._traces.record(lap, task.origin.traceparent, seconds)

        return tell

    def _render(self, task: Task, reporter: Reporter, stopwatch: Stopwatch) -> Clip:
        cold = self._model is None

        def report(progress: Progress) -> None:
            self._watch.saw(progress.stage)
            logs.reached(progress.stage)
            stopwatch.saw(progress)
            if progress.stage in STATE_OF_STAGE:
                self._describe(
                    STATE_OF_STAGE[progress.stage],
                    bytes_done=progress.bytes_done,
                    bytes_total=progress.bytes_total,
                )
            if progress.step == 1 and self._timeline.mark(Mark.FIRST_STEP):
                logger.info("cold start: %s", self._timeline.line())
            reporter(progress)
            if progress.stage == Stage.DECODING:
                stopwatch.begin(Lap.WAIT_FOR_ENCODER)
                self._wait_for_room(reporter)
                stopwatch.begin(Lap.DECODE)

        self._timeline.mark(Mark.TASK)
        report(Progress(Stage.STARTING))
        picture = self._picture(task)
        model = self._loaded(report)
        started = time.monotonic()
        task = self._adjusted(task, model, reporter)
        self._check_fits(task, model)
        with self._meter.running(task.owner):
            clip = model.render(task.request, picture, report)
        if model.left_out:
            logger.info("task %s: quality fast: %s", task.id, model.left_out)
        self._write_length(task, clip)
        self._waiting_clips.add(task, clip.size_bytes)
        report(Progress(Stage.ENCODING, task.rendered_request.num_inference_steps))
        logger.info("task %s: rendered in %.1f s", task.id, time.monotonic() - started)
        self._gpu_memory = read_gpu_memory()
        self._show_gpu_memory()
        marks = {str(mark): at for mark, at in self._timeline.marks.items()} if cold else {}
        return replace(clip, timings=replace(stopwatch.timings, cold_start=marks))

    def _show_gpu_memory(self) -> None:
        """Ray passes a gauge on once: what is to stay is shown with every heartbeat."""
        if self._gpu_memory is not None:
            self._metrics.set(GPU_MEMORY_PEAK_BYTES, self._gpu_memory.peak_bytes)
            self._metrics.set(GPU_MEMORY_BYTES, self._gpu_memory.total_bytes)

    def _adjusted(self, task: Task, model: "Ltx2", reporter: Reporter) -> Task:
        """The task with what the model cannot use of its request, written down for the client."""
        adjustments = model.find_adjustments(task.request)
        if adjustments == task.adjusted:
            return task
        for each in adjustments:
            logger.info("task %s: %s is %s: %s", task.id, each.field, each.used, each.reason)
        with suppress(StoreUnavailable):
            self._tasks.adjust(task, adjustments)
        adjusted = replace(task, adjusted=adjustments)
        reporter.carry(adjusted)
        return adjusted

    def _write_length(self, task: Task, clip: Clip) -> None:
        """Write down how long the video came to be, where that was left to the model."""
        if chosen := chosen_length(task.rendered_request, len(clip.frames)):
            with suppress(StoreUnavailable):
                self._tasks.adjust(task, (*task.adjusted, *chosen))

    def _check_fits(self, task: Task, model: "Ltx2") -> None:
        """Refuse at once what would run out of memory later: the first task of a model was accepted unmeasured."""
        if model.working_bytes is not None:
            from_image = task.input_key is not None
            check_fits(task.rendered_request, model.working_bytes, self._settings.limits, from_image=from_image)

    def _wait_for_room(self, reporter: Reporter) -> None:
        """Hold the GPU back before a clip comes to be. Goes on reporting, so that a cancel is still heard."""
        while self._waiting_clips.full():
            self._watch.saw(Stage.DECODING)
            reporter(Progress(Stage.DECODING))
            time.sleep(ROOM_CHECK_S)

    def _picture(self, task: Task) -> "Image | None":
        """The picture that an image-to-video task starts from."""
        if task.input_key is None:
            return None
        from PIL import Image

        try:
            content = b"".join(self._outputs.open(task.input_key))
        except FileNotFoundError:
            raise RenderFailed("the picture that the task starts from is gone") from None
        return Image.open(io.BytesIO(content)).convert("RGB")

    def _loaded(self, report: ReportProgress) -> "Ltx2":
        """The model where it can render: loaded with the first task, woken for one that comes after a sleep."""
        if self._model is None:
            self._model = self._load(report)
        elif self._replica.state == ReplicaState.SLEEPING:
            started = time.monotonic()
            report(Progress(Stage.LOADING))
            self._model.wake()
            self._describe(ReplicaState.READY)
            logger.info("the weights were back on the GPU in %.1f s", time.monotonic() - started)
        return self._model

    def _load(self, report: ReportProgress) -> "Ltx2":
        report(Progress(Stage.LOADING))
        started = time.monotonic()
        try:
            self._warm_up.wait_for_imports()
            from models.ltx2 import Ltx2

            knobs = self._settings.generator
            place = None if knobs.placement == "auto" else knobs.placement
            options = LoadOptions(
                knobs.speedups,
                place,
                knobs.weights,
                knobs.recipe,
                prompt_cache_bytes=knobs.prompt_cache_bytes,
                fast_guided_share=knobs.fast_guided_share,
            )
            cache_dir = Path(self._settings.cache_dir)
            model = Ltx2.load(self._source, self._device, cache_dir, report, options, timeline=self._timeline)
            self._tasks.remember_model(ServedModel(self._model_name, model.recipe, model.working_bytes))
        except TaskCancelled:
            self._describe(ReplicaState.UNLOADED)
            raise
        except Exception as error:
            message = error.message if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
            self._describe(ReplicaState.FAILED, message)
            if isinstance(error, VideoError):
                raise
            raise ModelUnavailable(f"the model could not be loaded: {message}") from error
        logger.info("model %s loaded on %s in %.1f s", self._model_name, self._device, time.monotonic() - started)
        logger.info("placement: %s\n%s", model.placement.place, model.placement.table())
        logger.info("speed-ups: %s", ", ".join(model.speedups) or "none")
        self._describe(ReplicaState.READY)
        return model

    def _fall_asleep(self, wanted: Wanted) -> None:
        """Free the GPU while nobody asks. What goes wrong leaves weights on both sides, and a wake collects them."""
        if self._model is None or not self._model.can_sleep():
            return
        self._describe(ReplicaState.SLEEPING)
        started = time.monotonic()
        try:
            gone = self._model.sleep(wanted)
        except Exception as error:
            logger.warning("the weights could not all be moved to host memory: %s", error)
            return
        logger.info("%s in %.1f s", "the GPU is free" if gone else "called back from sleep", time.monotonic() - started)

    def _describe(self, state: ReplicaState, message: str = "", *, bytes_done: int = 0, bytes_total: int = 0) -> None:
        """Say what this replica is doing, for /health. The heartbeat writes it again if the store is away."""
        changed = state != self._replica.state
        self._replica = Replica(self._replica.id, self._model_name, state, message, bytes_done, bytes_total)
        if changed:
            with suppress(StoreUnavailable):
                self._tasks.put_replica(self._replica)

    def _beat(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                self._tasks.put_replica(self._replica)
            self._meter.write()
            self._show_gpu_memory()
            self._beat_now.wait(HEARTBEAT_S)
            self._beat_now.clear()
            if self._ended.is_set():
                return


def _idle_s(sleep_after_s: float | Literal["auto"] | None, device: str) -> float | None:
    """How long to stay awake; None for ever, as on a CPU, which has nothing to free."""
    if sleep_after_s == "auto":
        return SLEEP_AFTER_S if device == "cuda" else None
    return sleep_after_s
