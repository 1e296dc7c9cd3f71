"""The progress line in the terminal while a task runs."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ltx2_client.responses import Task

GB = 1e9
REFINING_STEPS = 3
"""The steps of the second of two stages (`upscale`)."""


class ProgressLine:
    """An `on_progress` callback that shows each poll. Without a terminal it shows nothing."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._line = self._progress.add_task("submitting", total=1.0, left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, task: Task) -> None:
        """Show the current state of the task."""
        self._progress.update(
            self._line, description=activity(task), completed=task.progress, left=time_left(task), refresh=True
        )


def activity(task: Task) -> str:
    """The current activity of the task in words, such as "denoising 5/40"."""
    if task.finished:
        return task.state
    if task.paused:
        return "queued, the server is paused"
    if task.state == "queued":
        return "queued" if task.queue_position is None else f"queued, number {task.queue_position}"
    stage = task.stage or task.state
    if task.bytes_total:
        return f"{stage} {(task.bytes_done or 0) / GB:.1f} of {task.bytes_total / GB:.1f} GB"
    steps = {"denoising": task.num_inference_steps, "refining": REFINING_STEPS}.get(stage)
    return stage if steps is None or task.step is None else f"{stage} {task.step}/{steps}"


def time_left(task: Task) -> str:
    """The remaining time in words; empty if the task has finished or the server sends no estimate."""
    if task.finished or task.eta_s is None:
        return ""
    minutes, seconds = divmod(max(0, round(task.eta_s)), 60)
    return f"about {minutes} min {seconds} s left" if minutes else f"about {seconds} s left"
