"""Finds the task of a video by its id in OpenAI's video API."""

import re

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from deployments.ingress.openai.schemas import PREFIX
from deployments.ingress.routes.tasks import get_owned_task
from storage.tasks import State, Task

VIDEO_ID = re.compile(PREFIX + "([0-9a-f]{32})")
MAX_SHOWN_CHARS = 64


def find_video(context: AppContext, video_id: str, owner: str | None) -> Task:
    """The task of a video. Raises NotFound, also for a deleted one."""
    task = get_owned_task(context, task_id_of(video_id), owner)
    if task is None or task.state == State.DELETED:
        raise no_video(video_id)
    return task


def task_id_of(video_id: str) -> str:
    """The id of the task. Raises NotFound for what is no id."""
    found = VIDEO_ID.fullmatch(video_id)
    if found is None:
        raise no_video(video_id)
    return found[1]


def no_video(video_id: str) -> NotFound:
    """The error for an unknown video."""
    return NotFound(f"there is no video {video_id[:MAX_SHOWN_CHARS]!r}")
