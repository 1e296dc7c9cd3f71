"""The Encoder: encodes a clip as an MP4 with a poster and writes both to the output store."""

import logging
import time
from contextlib import suppress
from pathlib import Path

from deployments.encoder.mp4 import Mp4, write_mp4
from deployments.encoder.poster import representative_frame, write_poster
from deployments.observability import log_context
from deployments.observability.metrics.definitions import COLD_STARTS
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.observability.metrics.task_ends import record_run
from deployments.observability.tracing import in_span
from deployments.replica_resources import open_resources
from deployments.settings import Settings
from deployments.work_folder import delete_abandoned_folders, work_folder
from models.clip import Clip
from models.errors import StorageFull, TaskCanceled
from models.names import DEMO_MODEL_NAME, TINY_MODEL_NAME
from models.progress import Stage
from models.request.enums import Quality
from models.timing import StageTimer, TimedStage
from storage.outputs.store import output_key, poster_key, staging_key
from storage.tasks import Output, State, Task

VIDEO, POSTER = "video.mp4", "poster.jpg"
ORIGINS = {
    DEMO_MODEL_NAME: "Drawn by a demo model, not LTX-2: ",
    TINY_MODEL_NAME: "NOISE from a tiny random-weight model, not LTX-2: ",
}
"""What the metadata of a built-in model's video says first."""

logger = logging.getLogger("ray.serve")


class Encoder:
    """Encodes on the CPU, so that the Generator can render the next task. Does not use the model."""

    def __init__(self, settings: Settings, *, metrics: MetricsRecorder = NOOP_METRICS) -> None:
        resources = open_resources(settings, "Encoder", metrics, State.COMPLETED)
        self._settings = resources.settings.encoder
        self._metrics = metrics
        metrics.initialize(COLD_STARTS)
        self._tasks = resources.tasks
        self._tracer = resources.tracer
        self._outputs = resources.outputs
        delete_abandoned_folders()

    def encode(self, clip: Clip, task: Task) -> None:
        """Encode a clip, publish its files, and complete the task.

        The files are staged under names with the claim token until the row confirms that the claim still holds. They
        get their final names before the row says completed. Raises TaskCanceled, EncodeFailed, StoreUnavailable.
        """
        started, stopwatch = time.monotonic(), StageTimer()
        stopwatch.start_stage(TimedStage.ENCODE)
        with log_context.bind_task(task, Stage.ENCODING), work_folder() as folder:
            with in_span(self._tracer, TimedStage.ENCODE, task.context.traceparent):
                written = self._write(clip, task, folder)
            stopwatch.start_stage(TimedStage.STORE)
            with in_span(self._tracer, TimedStage.STORE, task.context.traceparent, size_bytes=written.size_bytes):
                self._store(task, folder, written)
            stopwatch.start_stage(None)
            record_run(self._metrics, clip.timings, stopwatch.timings)
            seconds = time.monotonic() - started
            logger.info("task %s: encoded %d bytes in %.1f s", task.id, written.size_bytes, seconds)

    def __del__(self) -> None:
        """Send the spans that the tracer still holds."""
        with suppress(AttributeError):  # when the constructor has raised
            self._tracer.close()

    def _write(self, clip: Clip, task: Task, folder: Path) -> Mp4:
        mp4 = folder / VIDEO
        written = write_mp4(clip, mp4, max_bytes=self._settings.max_bytes, metadata=self._metadata(task))
        write_poster(representative_frame(clip.frames), folder / POSTER)
        return written

    def _store(self, task: Task, folder: Path, written: Mp4) -> None:
        video, poster = output_key(task.id), poster_key(task.id)
        waiting = staging_key(video, task.claim_token), staging_key(poster, task.claim_token)
        try:
            self._outputs.put(waiting[0], folder / VIDEO)
            self._outputs.put(waiting[1], folder / POSTER)
        except StorageFull:
            self._delete_keys(*waiting)  # a partial upload would take space from other videos
            raise
        if not self._tasks.owns_task(task):
            self._delete_keys(*waiting)
            raise TaskCanceled("the task was canceled, or taken over by another worker")
        self._outputs.publish(staging_key(poster, task.claim_token), poster)
        published = self._outputs.publish(staging_key(video, task.claim_token), video)
        if not self._tasks.complete(task, Output(video, poster, written.duration_s, published.size_bytes)):
            self._discard_outputs(task, video, poster)

    def _discard_outputs(self, task: Task, *keys: str) -> None:
        """The claim was lost after the last check of the row. A canceled task keeps no file."""
        now = self._tasks.get(task.id)
        if now is None or (now.is_finished and now.state != State.COMPLETED):
            self._delete_keys(*keys)
        raise TaskCanceled("the task was canceled, or taken over by another worker")

    def _delete_keys(self, *keys: str) -> None:
        for key in keys:
            self._outputs.delete(key)

    def _metadata(self, task: Task) -> dict[str, str]:
        """MP4 metadata: how the video was made."""
        request = (self._tasks.get(task.id) or task).rendered_request
        made = f"model={task.model} seed={request.seed} num_inference_steps={request.num_inference_steps}"
        if request.quality != Quality.EXACT:
            made += f" quality={request.quality}"
        if loras := request.chosen_loras:
            made += " loras=" + ",".join(f"{each.name}:{each.scale:g}" for each in loras)
        made = ORIGINS.get(task.model, "") + made
        metadata = {"title": f"ltx2_{task.id}", "comment": made, "artist": task.model}
        if self._settings.prompt_in_metadata:
            metadata["description"] = request.prompt
        return metadata
