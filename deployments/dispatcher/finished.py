"""Work that is already done: an Encoder may publish a file and die before the row says completed."""

from storage.outputs import OutputStore, output_key, poster_key
from storage.task_store import TaskStore
from storage.tasks import Output, Task


def complete_if_published(task: Task, tasks: TaskStore, outputs: OutputStore) -> bool:
    """End a task that ran before as completed, if its files are there. Returns whether it has ended so.

    The poster is published first, so a video without one is of no earlier run of ours.
    """
    if task.claim == 1:
        return False
    video, poster = output_key(task.id), poster_key(task.id)
    found = outputs.stat(video)
    if found is None or outputs.stat(poster) is None:
        return False
    output = Output(video, poster, task.rendered_request.duration_s, found.size_bytes)
    return tasks.start(task) and tasks.complete(task, output)
