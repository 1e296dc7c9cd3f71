"""The Generator: the replica that holds the model. It renders a task and returns the clip.

The constructor neither loads the model nor raises, because Serve abandons a deployment after three failed starts. It
begins to import and to prefetch (`models/startup/warm_up.py`), because a replica starts when a task waits. The first
task loads the model. A failed load fails that task, and the next task tries again.
"""

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from deployments.generator.autoscaling_policy import SUPERSEDED
from deployments.generator.backpressure import PendingClips
from deployments.generator.gpu_lock import GpuLock, HasWaiters
from deployments.generator.model_manager import ModelManager, idle_s
from deployments.generator.previews import PreviewPublisher
from deployments.generator.progress import ProgressDispatcher, ProgressReporter
from deployments.generator.replica_status import ModelInfoWriter, ReplicaStatus
from deployments.generator.request_prep import apply_adjustments, check_memory, load_conditions, record_duration
from deployments.generator.supersession import Supersession
from deployments.generator.usage_meter import UsageMeter
from deployments.generator.watchdog import Watchdog
from deployments.observability import log_context
from deployments.observability.metrics.definitions import (
    DECODE_RETRIES,
    GPU_MEMORY_BYTES,
    GPU_MEMORY_PEAK_BYTES,
    PREVIEWS,
)
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.replica_resources import open_resources
from deployments.settings import Settings
from models.clip import Clip
from models.conditions import GivenTokens
from models.errors import RenderFailed, StoreUnavailable, TaskCanceled, VideoError
from models.memory.gpu import GpuMemory, find_fatal_error, read_gpu_memory
from models.optimizations.selection import Optimization
from models.preview import PreviewMode, PreviewOptions
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from models.timing import Milestone, StageTimer, TimedStage
from storage.sql.dispatcher_registry import SqlDispatcherRegistry
from storage.tasks import Task

SHORTEST_SPAN_S = 0.001

logger = logging.getLogger("ray.serve")


class Generator:
    """Renders one task at a time. `app` is the number of this deploy; `auto` is resolved in `model` and `device`."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        model_name: str,
        device: str,
        *,
        app: int = 0,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        resources = open_resources(settings, "Generator", metrics)
        settings = resources.settings
        self._settings = settings
        self._metrics = metrics
        metrics.initialize(DECODE_RETRIES)
        metrics.initialize(PREVIEWS)
        self._tracer = resources.tracer
        self._tasks = resources.tasks
        self._outputs = resources.outputs
        self._usage_meter = UsageMeter(self._tasks)
        self._pending_clips = PendingClips(self._tasks, settings.generator.max_pending_clip_bytes)
        self._gpu_memory: GpuMemory | None = None
        self._watch = Watchdog(settings.generator.stall_timeout_s, settings.generator.load_timeout_s)
        self._replica_status = ReplicaStatus(self._tasks, model_name, self._on_heartbeat)
        self._model_info_writer = ModelInfoWriter(self._tasks, model_name)
        self._supersession = Supersession(SqlDispatcherRegistry(resources.engine), app, model_name)
        self._model_manager = ModelManager(
            settings, model, device, self._replica_status, self._model_info_writer.record
        )
        self._gpu_lock = GpuLock(idle_s(settings.generator.sleep_after_idle_s, device), self._sleep)
        self._render_thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._replica_status.start()

    async def generate(self, task: Task) -> Clip:
        """Render a task when all that arrived before it are rendered.

        One thread renders all of them, in the order of their arrival, also when a caller goes away. With a thread for
        each task, torch would keep CPU threads for each, and those of a render would no longer wait for each other in
        a spin (`models/startup/openmp.py`).
        """
        in_context = contextvars.copy_context().run  # so that log lines and spans belong to the request
        return await asyncio.get_running_loop().run_in_executor(self._render_thread, in_context, self.render, task)

    def render(self, task: Task) -> Clip:
        """Render a task. Holds the GPU from the first denoising step to the last decoded frame.

        Raises TaskCanceled when this claim no longer owns the task, and VideoError for all other failures.
        """
        with self._gpu_lock.acquire(), log_context.bind_task(task):
            self._watch.block_if_broken()
            if not self._tasks.start_run(task):
                raise TaskCanceled("the task was canceled, or taken over by another worker")
            progress_dispatcher = self._make_progress_dispatcher(task)
            publisher = PreviewPublisher(self._tasks, self._outputs, task, self._metrics)
            try:
                return self._render_started(task, progress_dispatcher, publisher)
            except TaskCanceled:
                raise
            except Exception as error:
                self._check_device(error)
                if isinstance(error, VideoError):
                    raise
                raise RenderFailed(f"{type(error).__name__}: {error}") from error
            finally:
                progress_dispatcher.close()
                publisher.close()

    async def check_health(self) -> None:
        """Exit the process when a stage hangs or the GPU is broken; Serve then replaces the replica.

        This is a coroutine because a plain method would need a thread. Raising is not enough: Serve stops an unhealthy
        replica gracefully and waits for the call that hangs (2.60, unless RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS is
        set where Ray starts).
        """
        if reason := self._watch.failure_reason():
            logger.error("this replica ends: %s", reason)
            logging.shutdown()
            os._exit(1)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Report to GeneratorPolicy whether a newer server needs the GPU. Serve calls this several times a second."""
        return {SUPERSEDED: float(self._supersession.known)}

    def __del__(self) -> None:
        """Write unwritten usage and delete this replica's row."""
        with suppress(StoreUnavailable, AttributeError):
            self._replica_status.close()
            self._model_manager.close()
            self._gpu_lock.close()
            self._render_thread.shutdown(wait=False)
            self._usage_meter.flush()
            self._replica_status.deregister()
        with suppress(AttributeError):
            self._tracer.close()

    def _make_progress_dispatcher(self, task: Task) -> ProgressDispatcher:
        reporter = ProgressReporter(self._tasks, task, self._usage_meter.flush_if_large)
        stopwatch, timeline = StageTimer(tell=self._make_progress_callback(task)), self._model_manager.timeline
        return ProgressDispatcher(reporter, stopwatch, timeline, self._watch, self._replica_status, self._pending_clips)

    def _make_progress_callback(self, task: Task) -> Callable[[TimedStage, float], None]:
        """Make a callback that records a span for each stage. Stages of no length lie between two reports."""

        def tell(lap: TimedStage, seconds: float) -> None:
            if seconds >= SHORTEST_SPAN_S:
                self._tracer.record_span(lap, task.context.traceparent, seconds)

        return tell

    def _render_started(self, task: Task, progress_dispatcher: ProgressDispatcher, publisher: PreviewPublisher) -> Clip:
        cold, timeline = self._model_manager.model is None, self._model_manager.timeline
        timeline.record(Milestone.TASK)
        progress_dispatcher(Progress(Stage.STARTING))
        conditions = load_conditions(task, self._outputs)
        model = self._model_manager.get_or_load(progress_dispatcher)
        started = time.monotonic()
        task = apply_adjustments(task, model, self._tasks, conditions)
        progress_dispatcher.reporter.update_task(task)
        check_memory(task, model, self._settings.limits, conditions)
        if Optimization.COMPILE in model.optimizations:
            self._watch.expect_compiling(_kind(conditions.rendered_request(task.rendered_request), conditions.tokens))
        with self._usage_meter.measure(task.owner):
            clip = model.render(task.request, conditions, progress_dispatcher, self._preview_options(publisher))
        if model.fast_summary:
            logger.info("task %s: quality fast: %s", task.id, model.fast_summary)
        for part in model.decoded_again:
            logger.warning("task %s: ran out of memory when it was decoded, and was decoded again: %s", task.id, part)
            self._metrics.add(DECODE_RETRIES)
        record_duration(task, clip, self._tasks)
        self._pending_clips.add(task, clip.size_bytes)
        progress_dispatcher(Progress(Stage.ENCODING, task.rendered_request.num_inference_steps))
        logger.info("task %s: rendered in %.1f s", task.id, time.monotonic() - started)
        self._gpu_memory = read_gpu_memory()
        self._publish_gpu_memory()
        marks = {str(mark): at for mark, at in timeline.milestones.items()} if cold else {}
        return replace(clip, timings=replace(progress_dispatcher.stopwatch.timings, cold_start=marks))

    def _preview_options(self, publisher: PreviewPublisher) -> PreviewOptions | None:
        """What becomes of the previews of a run; None where the operator wants none."""
        settings = self._settings.generator
        if settings.preview is PreviewMode.OFF:
            return None
        return PreviewOptions(publisher.show, publisher.report_failure, settings.preview_max_fraction)

    def _sleep(self, wanted: HasWaiters) -> None:
        """Move the weights to host memory; runs in the idle thread. After an error, wake-up collects all weights."""
        self._watch.feed(Stage.LOADING)  # a task that waits for the lock does not feed the watchdog
        try:
            self._model_manager.sleep(wanted)
        except Exception as error:
            logger.warning("the weights could not all be moved to host memory: %s", error)
            self._check_device(error)
        finally:
            self._watch.stop()

    def _check_device(self, error: Exception) -> None:
        if fault := find_fatal_error(error):
            self._watch.mark_broken(fault)

    def _on_heartbeat(self) -> None:
        self._usage_meter.flush()
        self._model_info_writer.write()
        self._supersession.check_app()
        self._publish_gpu_memory()

    def _publish_gpu_memory(self) -> None:
        """Set the memory gauges. Ray exports a value only once, so they are set with every heartbeat."""
        if self._gpu_memory is not None:
            self._metrics.set(GPU_MEMORY_PEAK_BYTES, self._gpu_memory.peak_bytes)
            self._metrics.set(GPU_MEMORY_BYTES, self._gpu_memory.total_bytes)


def _kind(request: VideoRequest, given: GivenTokens) -> Hashable:
    """The part of a request that determines which graphs torch.compile builds, as far as is known."""
    guided = (request.uses_cfg, request.stg_scale_video > 0, request.modality_scale > 1)
    loras = tuple(sorted(each.name for each in request.chosen_loras if each.scale))
    size = (request.height, request.width, request.num_frames, request.length, request.upscale)
    return *size, request.quality, *guided, given, loras
