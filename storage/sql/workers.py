"""Queries of the Generator and the Encoder on the task that they work on."""

import time
from collections.abc import Collection

from sqlalchemy import case, func, literal, select, update

from models.progress import Progress, Stage
from models.request.adjustments import Adjustment
from storage.db.schema import tasks
from storage.sql.base import SqlStore, deadline_after_download, owned_by
from storage.sql.mapping import adjustments_value
from storage.tasks import Output, State, Task


class WorkerQueries(SqlStore):
    """Writes of a run. Each is a compare-and-set on (task, claim token)."""

    def start_run(self, task: Task) -> bool:
        """Mark a claimed task as processing: its Generator starts the run."""
        later = ("rendering_at", "decoding_at", "finished_at", "preview_step")
        anew: dict[str, float | None] = dict.fromkeys(later)
        values = {"stage": Stage.STARTING, "started_at": time.time(), **anew}
        return self._transition(State.PROCESSING, owned_by(task), **values)

    def report_progress(self, task: Task, progress: Progress) -> bool:
        """Write the progress of a run."""
        request = task.rendered_request
        two_stages = {"upscaled": request.is_upscaled, "guided": request.is_guided}
        fraction = progress.fraction(request.num_inference_steps, **two_stages)
        values = {
            "stage": progress.stage,
            "step": progress.step,
            "bytes_done": progress.bytes_done,
            "bytes_total": progress.bytes_total,
            # Never lower the progress that a client saw: a download may find more files, and reports may be reordered.
            "progress": case((tasks.c.progress > fraction, tasks.c.progress), else_=fraction),
        }
        if progress.stage == Stage.DENOISING:
            values["rendering_at"] = func.coalesce(tasks.c.rendering_at, time.time())
        if progress.stage == Stage.DECODING:
            values["decoding_at"] = func.coalesce(tasks.c.decoding_at, time.time())
        if progress.stage != Stage.DOWNLOADING:
            values["deadline_at"] = deadline_after_download()
        mine = owned_by(task) & (tasks.c.state == State.PROCESSING)
        return bool(self._write(update(tasks).where(mine).values(values)))

    def record_preview(self, task: Task, step: int) -> bool:
        """Record that a preview was stored, made after `step` steps."""
        mine = owned_by(task) & (tasks.c.state == State.PROCESSING)
        return bool(self._write(update(tasks).where(mine).values(preview_step=step)))

    def record_adjustments(self, task: Task, adjustments: Collection[Adjustment]) -> bool:
        """Write the adjustments of the request, which replace the earlier ones."""
        return bool(self._write(update(tasks).where(owned_by(task)).values(adjustments=adjustments_value(adjustments))))

    def owns_task(self, task: Task) -> bool:
        """Whether the task still belongs to this claim. Does not write."""
        return bool(self._read(select(literal(1)).where(owned_by(task), tasks.c.state == State.PROCESSING)))

    def complete(self, task: Task, output: Output) -> bool:
        """Complete the task with its output files."""
        values = {
            "output_key": output.key,
            "poster_key": output.poster_key,
            "duration_s": output.duration_s,
            "size_bytes": output.size_bytes,
            "progress": 1.0,
        }
        return self._transition(State.COMPLETED, owned_by(task), **values)
