"""Reads the files of a task that another request names as its source."""

from pathlib import Path

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict, Gone, NotFound
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.request_body.given_media import SOURCE_TASK
from deployments.ingress.routes.outputs import make_derived
from deployments.ingress.routes.tasks import get_owned_task
from deployments.ingress.schemas import GONE_MESSAGES
from models.errors import InvalidRequest
from storage.outputs.store import DerivedFile, derived_key, output_key
from storage.tasks import UNFINISHED, State, Task

MAX_SHOWN_CHARS = 64


async def read_last_frame(context: AppContext, request: Request, given: object, name: str = SOURCE_TASK) -> bytes:
    """The last frame of the task that the field `name` names, as PNG.

    Raises NotFound, Conflict, Gone, InvalidRequest, and what `make_derived` raises.
    """
    if not isinstance(given, str):
        raise InvalidRequest(name, given, "the id of a completed task")
    task = await context.read_threads.run(completed_task, context, given.strip(), request_owner(request), name)
    key = derived_key(task.id, DerivedFile.LAST_FRAME)
    if await context.reads.stat(key) is None:
        await make_derived(context, task.id, DerivedFile.LAST_FRAME)
    try:
        return await context.file_threads.run(lambda: b"".join(context.outputs.open(key)))
    except FileNotFoundError:
        raise _gone(name, task.id, GONE_MESSAGES[State.DELETED]) from None


async def copy_video(
    context: AppContext, request: Request, task_id: str, target: Path, name: str = SOURCE_TASK
) -> None:
    """Copy the video of the task that the field `name` names into `target`. Raises NotFound, Conflict, Gone."""
    task = await context.read_threads.run(completed_task, context, task_id, request_owner(request), name)
    await context.file_threads.run(_copy, context, task, target, name)


def completed_task(context: AppContext, task_id: str, owner: str | None, name: str = SOURCE_TASK) -> Task:
    """The completed task that the field `name` names. Blocks on the store. Raises NotFound, Conflict, Gone."""
    task = get_owned_task(context, task_id, owner)
    if task is None:
        raise NotFound(f"{name}: there is no task {task_id[:MAX_SHOWN_CHARS]!r}", name)
    if task.state in UNFINISHED:
        raise Conflict(f"{name}: the task {task_id} is not completed yet; its state is {task.state}", name)
    if task.state in (State.EXPIRED, State.DELETED):
        raise _gone(name, task_id, GONE_MESSAGES[task.state])
    if task.state is not State.COMPLETED:
        raise Conflict(f"{name}: the task {task_id} has no video; its state is {task.state}", name)
    return task


def _gone(name: str, task_id: str, why: str) -> Gone:
    return Gone(f"{name}: {why}: that of the task {task_id}", name)


def _copy(context: AppContext, task: Task, target: Path, name: str) -> None:
    try:
        with target.open("wb") as file:
            for chunk in context.outputs.open(output_key(task.id)):
                file.write(chunk)
    except FileNotFoundError:
        raise _gone(name, task.id, GONE_MESSAGES[State.DELETED]) from None
