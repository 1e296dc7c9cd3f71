"""Completes a task whose file exists already: an Encoder may publish a file and die before the row says completed."""

from storage.outputs.store import OutputStore, output_key, poster_key, staging_key
from storage.sql.workers import WorkerQueries
from storage.tasks import Output, Task


def complete_if_published(task: Task, tasks: WorkerQueries, outputs: OutputStore) -> bool:
    """Complete a task that ran before, if its files exist. Returns whether the task is completed.

    The Encoder publishes the poster first, so a video without a poster is not from an earlier run. The output store
    deletes a staged file after it has seen the whole video. If a staged file of another size remains, the video was
    not verified, and the task is rendered again.
    """
    video, poster = output_key(task.id), poster_key(task.id)
    found = outputs.stat(video)
    if found is None or outputs.stat(poster) is None:
        return False
    left = [outputs.stat(staging_key(video, claim)) for claim in range(1, task.claim_token)]
    if any(each is not None and each.size_bytes != found.size_bytes for each in left):
        return False
    output = Output(video, poster, task.rendered_request.duration_s, found.size_bytes)
    return tasks.start_run(task) and tasks.complete(task, output)
