"""One talk for each thing that a client can want. What a request holds and how an answer reads stands only here."""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from ltx2_client.download import OK, PARTIAL, UNSATISFIABLE, Part
from ltx2_client.errors import DownloadFailed, Refused, TaskFailed, Unreachable, WrongUse
from ltx2_client.options import Options
from ltx2_client.records import Cancellation, Estimate, Health, Submitted, Task, TaskPage, read
from ltx2_client.talk import Answer, Call, Lost, Manner, Pause, Talk, ask, passing, reason

Image = str | Path | bytes
OnProgress = Callable[[Task], None]
Record = TypeVar("Record")
STRANGER = "what answers there is no LTX-2 video server"


def new_key() -> str:
    """An Idempotency-Key: a submit that is sent again with it makes no second task."""
    return secrets.token_hex(16)


def submit(prompt: str, image: Image | None, options: Options, key: str, manner: Manner) -> Talk[Submitted]:
    """Hand in a task. Sent again while the server does not answer, which is safe because of `key`."""
    headers, fields = {"Idempotency-Key": key}, {"prompt": prompt, **options}
    if image is None:
        call = Call("POST", "/v1/video/async_t2v", headers, json=fields)
    else:
        call = Call("POST", "/v1/video/async_i2v", headers, form=_form(fields), image=_file(image))
    return _parse(Submitted, (yield from ask(call, manner)))


def estimate(prompt: str, image: Image | None, options: Options, manner: Manner) -> Talk[Estimate]:
    """Ask what a task would take. Nothing is made."""
    fields = {"prompt": prompt, **options}
    if image is None:
        call = Call("POST", "/v1/video/estimate", json=fields)
    else:
        call = Call("POST", "/v1/video/estimate", form=_form(fields), image=_file(image))
    return _parse(Estimate, (yield from ask(call, manner)))


def poll(task_id: str, manner: Manner) -> Talk[Task]:
    """Ask once how a task stands."""
    return _parse(Task, (yield from ask(Call("GET", _task_path(task_id)), manner)))


def wait(task_id: str, manner: Manner, on_progress: OnProgress | None) -> Talk[Task]:
    """Poll until the task is completed. Raises TaskFailed if it ended otherwise."""
    while True:
        task = yield from poll(task_id, manner)
        if on_progress is not None:
            on_progress(task)
        if task.status == "completed":
            return task
        if task.finished:
            raise TaskFailed(task)
        yield Pause(manner.poll_interval_s)


def list_tasks(states: Sequence[str], limit: int, cursor: str | None, manner: Manner) -> Talk[TaskPage]:
    """One page of tasks, newest first."""
    query = {"limit": limit, **({"state": list(states)} if states else {}), **({"cursor": cursor} if cursor else {})}
    return _parse(TaskPage, (yield from ask(Call("GET", "/v1/video/tasks", query=query), manner)))


def cancel(task_id: str, manner: Manner) -> Talk[Cancellation]:
    """Cancel a task; a finished one is deleted with its files."""
    return _parse(Cancellation, (yield from ask(Call("DELETE", _task_path(task_id)), manner)))


def health() -> Talk[Health]:
    """Ask once whether the server can work; that it cannot is an answer too."""
    answer = yield Call("GET", "/health")
    if not isinstance(answer, Answer):
        raise Unreachable(reason(answer))
    return _parse(Health, answer)


def download(task: Task, target: Path, manner: Manner) -> Talk[Path]:
    """Bring a video to `target`, which is there whole or not at all. Goes on where a broken connection left off."""
    if (url := task.url) is None:
        raise DownloadFailed(f"the task has no video: its state is {task.state}")
    with Part(target) as part:
        pauses = manner.pauses()
        while not part.whole:
            had = part.size
            answer = yield Call("GET", url, part.headers(), sink=part)
            if part.size > had:
                pauses = manner.pauses()
            if _arrived(url, answer, part):
                break
            if (pause := next(pauses, None)) is None:
                raise DownloadFailed(f"{url}: {reason(answer)}")
            yield Pause(pause)
        return part.publish()


def _arrived(url: str, answer: Answer | Lost | None, part: Part) -> bool:
    """Whether all is here now. Raises DownloadFailed where asking again cannot help."""
    if not isinstance(answer, Answer):
        return part.whole
    if answer.status in (OK, PARTIAL):
        part.end()
    elif answer.status != UNSATISFIABLE and not passing(answer):
        raise DownloadFailed(f"{url}: {reason(answer)}")
    return part.whole


def generate(
    prompt: str,
    target: Path,
    *,
    image: Image | None,
    options: Options,
    manner: Manner,
    on_progress: OnProgress | None,
) -> Talk[Task]:
    """Submit, wait and download."""
    check_target(target)
    submitted = yield from submit(prompt, image, options, new_key(), manner)
    task = yield from wait(submitted.task_id, manner, on_progress)
    yield from download(task, target, manner)
    return task


def _task_path(task_id: str) -> str:
    return f"/v1/video/tasks/{quote(task_id, safe='', errors='surrogateescape')}"


def check_target(target: Path) -> None:
    """See before the video is rendered that it can be saved. Raises WrongUse."""
    try:
        if target.is_dir():
            raise WrongUse(f"{target} is a folder; name a file in it")
        if not target.absolute().parent.is_dir():
            raise WrongUse(f"{target.parent} is no folder")
    except (OSError, ValueError) as error:  # a name that no file can have
        raise WrongUse(f"{str(target)!a} cannot be the name of a file: {error}") from error
    if not os.access(target.absolute().parent, os.W_OK):
        raise WrongUse(f"{target.parent} is not writable")


def _form(fields: Mapping[str, object]) -> dict[str, str]:
    """Numbers as text; None, which only `seed` may be, as the empty text that means it."""
    return {name: "" if value is None else str(value) for name, value in fields.items()}


def _file(image: Image) -> tuple[str, bytes]:
    if isinstance(image, bytes):
        return "image", image
    try:
        return Path(image).name, Path(image).read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WrongUse(f"{image} cannot be read: {why}") from error


def _json(answer: Answer) -> dict[str, Any]:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(answer.status, {"error": STRANGER})
    return body


def _parse(kind: type[Record], answer: Answer) -> Record:
    try:
        return read(kind, _json(answer))
    except TypeError:
        raise Refused(answer.status, {"error": STRANGER}) from None
