"""The operations of both clients. Only this module and `media.py` build requests to the API and read its responses."""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

from ltx2_client.core import (
    NO_ROUTE,
    NoResponse,
    Operation,
    Request,
    Response,
    RetryPolicy,
    Sleep,
    is_transient,
    reason,
    send_with_retry,
)
from ltx2_client.download import OK, PARTIAL, UNSATISFIABLE, ResumableDownload
from ltx2_client.errors import ApiError, DownloadFailed, TaskFailed, Unreachable, UsageError
from ltx2_client.responses import Cancellation, EnhancedPrompt, Estimate, Health, Submitted, Task, TaskPage, from_json


class Lora(TypedDict):
    """A LoRA of the server, and how strongly it acts. 0 is off."""

    name: str
    scale: float


class Options(TypedDict, total=False):
    """The server's request parameters under the same names. `GET /docs` lists defaults and limits."""

    negative_prompt: str
    height: int
    width: int
    num_frames: int
    length: Literal["exact", "auto"]
    frame_rate: float
    num_inference_steps: int
    seed: int | None
    cfg_scale_video: float
    stg_scale_video: float
    cfg_scale_audio: float
    modality_scale: float
    timeout_s: float
    webhook_url: str
    quality: Literal["exact", "fast"]
    fit: Literal["crop", "pad", "match"]
    generate_audio: bool
    enhance_prompt: bool
    loras: Sequence[Lora]
    camera_motion: str
    upscale: Literal["none", "2"]
    image_strength: float
    end_image_strength: float
    source_task: str


Image = str | Path | bytes
File = Literal["video", "poster", "audio", "last_frame", "thumbnail", "spritesheet", "webm", "mov", "gif"]


@dataclass(frozen=True)
class Keyframe:
    """An image for one frame of the video.

    `at` is a frame (0 is the first, -1 the last), or seconds such as "1.5s". `strength` is from 0 to 1: 1 keeps the
    image as it is.
    """

    image: Image
    at: int | str
    strength: float = 1.0


@dataclass(frozen=True)
class Images:
    """The images of a video: of its first frame, of its last frame, and of others."""

    image: Image | None = None
    end_image: Image | None = None
    keyframes: Sequence[Keyframe] = ()

    @property
    def given(self) -> bool:
        """Whether there is any image."""
        return self.image is not None or self.end_image is not None or bool(self.keyframes)

    def files(self) -> list[tuple[str, tuple[str, bytes]]]:
        """The files of a form, with their fields. Raises UsageError."""
        ends = (("image", self.image), ("end_image", self.end_image))
        named = [*ends, *(("keyframe", each.image) for each in self.keyframes)]
        return [(field, _file(image)) for field, image in named if image is not None]

    def form(self) -> dict[str, list[str]]:
        """The fields of a form that say where the keyframes belong."""
        if not self.keyframes:
            return {}
        strengths = [str(each.strength) for each in self.keyframes]
        return {"keyframe_at": [str(each.at) for each in self.keyframes], "keyframe_strength": strengths}


NO_IMAGES = Images()
ENHANCE_TIMEOUT_S = 150.0
"""More than a server may wait for its language model (`enhance.timeout_s`)."""
OnProgress = Callable[[Task], None]
Record = TypeVar("Record")
STRANGER = "this address does not answer like an LTX-2 video server"


def new_idempotency_key() -> str:
    """Create an Idempotency-Key. A repeated submit with the same key creates no second task."""
    return secrets.token_hex(16)


def submit(prompt: str, images: Images, options: Options, key: str, retry_policy: RetryPolicy) -> Operation[Submitted]:
    """Submit a task. `key` makes it safe to repeat the request while the server does not answer."""
    path = "/v1/video/async_i2v" if images.given or options.get("source_task") else "/v1/video/async_t2v"
    call = _post(path, {"prompt": prompt, **options}, images)
    timeout_s = ENHANCE_TIMEOUT_S if options.get("enhance_prompt") else None
    call = replace(call, headers={"Idempotency-Key": key}, timeout_s=timeout_s)
    return parse(Submitted, (yield from send_with_retry(call, retry_policy)))


def estimate(prompt: str, images: Images, options: Options, retry_policy: RetryPolicy) -> Operation[Estimate]:
    """Estimate memory and duration of a task. Creates no task."""
    call = _post("/v1/video/estimate", {"prompt": prompt, **options}, images)
    return parse(Estimate, (yield from send_with_retry(call, retry_policy)))


def enhance(prompt: str, images: Images, options: Options, retry_policy: RetryPolicy) -> Operation[EnhancedPrompt]:
    """Let the server's language model rewrite a prompt. Creates no task."""
    call = replace(_post("/v1/video/enhance", {"prompt": prompt, **options}, images), timeout_s=ENHANCE_TIMEOUT_S)
    return parse(EnhancedPrompt, (yield from send_with_retry(call, retry_policy)))


def poll(task_id: str, retry_policy: RetryPolicy) -> Operation[Task]:
    """Get the current state of a task, without waiting for its end."""
    return parse(Task, (yield from send_with_retry(Request("GET", _task_path(task_id)), retry_policy)))


def wait(task_id: str, retry_policy: RetryPolicy, on_progress: OnProgress | None) -> Operation[Task]:
    """Poll until the task is completed. Raises TaskFailed if it ends in another state."""
    while True:
        task = yield from poll(task_id, retry_policy)
        if on_progress is not None:
            on_progress(task)
        if task.status == "completed":
            return task
        if task.finished:
            raise TaskFailed(task)
        yield Sleep(retry_policy.poll_interval_s)


def preview(task_id: str, retry_policy: RetryPolicy) -> Operation[bytes | None]:
    """Get the newest preview of a task as a JPEG; None while it has none."""
    task = yield from poll(task_id, retry_policy)
    if task.preview_url is None:
        return None
    try:
        answer = yield from send_with_retry(Request("GET", f"{_task_path(task_id)}/preview"), retry_policy)
    except ApiError as error:
        if error.status == NO_ROUTE:
            return None  # the render has ended meanwhile
        raise
    return answer.content


def list_tasks(states: Sequence[str], limit: int, cursor: str | None, retry_policy: RetryPolicy) -> Operation[TaskPage]:
    """Get one page of tasks, newest first."""
    query = {"limit": limit, **({"state": list(states)} if states else {}), **({"cursor": cursor} if cursor else {})}
    return parse(TaskPage, (yield from send_with_retry(Request("GET", "/v1/video/tasks", query=query), retry_policy)))


def cancel(task_id: str, retry_policy: RetryPolicy) -> Operation[Cancellation]:
    """Cancel a task, or delete a finished task with its files."""
    return parse(Cancellation, (yield from send_with_retry(Request("DELETE", _task_path(task_id)), retry_policy)))


def health() -> Operation[Health]:
    """Get the health of the server, with one request. A 503 with the reason is a valid answer, not an error."""
    answer = yield Request("GET", "/health")
    if not isinstance(answer, Response):
        raise Unreachable(reason(answer))
    return parse(Health, answer)


def download(task: Task, target: Path, file: File, retry_policy: RetryPolicy) -> Operation[Path]:
    """Download a file to `target`. Resumes after a broken connection. `target` never holds a partial file."""
    url = _file_url(task, file)
    with ResumableDownload(target) as part:
        pauses = retry_policy.pauses()
        while not part.whole:
            had = part.size
            answer = yield Request("GET", url, part.headers(), sink=part)
            if part.size > had:
                pauses = retry_policy.pauses()
            if _arrived(url, answer, part):
                break
            if (pause := next(pauses, None)) is None:
                raise DownloadFailed(f"{url}: {reason(answer)}")
            yield Sleep(pause)
        return part.publish()


def _file_url(task: Task, file: File) -> str:
    if task.url is None:
        raise DownloadFailed(f"the task has no video: its state is {task.state}")
    url = {"video": task.url, "poster": task.poster_url, **(task.downloads or {})}.get(file)
    if not isinstance(url, str):
        raise DownloadFailed(f"the task has no {file.replace('_', ' ')}")
    return url


def _arrived(url: str, answer: Response | NoResponse | None, part: ResumableDownload) -> bool:
    """Whether the file is complete now. Raises DownloadFailed if a retry cannot help."""
    if not isinstance(answer, Response):
        return part.whole
    if answer.status in (OK, PARTIAL):
        part.end()
    elif answer.status != UNSATISFIABLE and not is_transient(answer):
        raise DownloadFailed(f"{url}: {reason(answer)}")
    return part.whole


def generate(
    submission: Operation[Submitted], target: Path, retry_policy: RetryPolicy, on_progress: OnProgress | None
) -> Operation[Task]:
    """Submit a task, wait for it and download its video."""
    check_target(target)
    submitted = yield from submission
    task = yield from wait(submitted.task_id, retry_policy, on_progress)
    yield from download(task, target, "video", retry_policy)
    return task


def _task_path(task_id: str) -> str:
    return f"/v1/video/tasks/{quote(task_id, safe='', errors='surrogateescape')}"


def check_target(target: Path) -> None:
    """Check, before the video is rendered, that it can be saved. Raises UsageError."""
    try:
        if target.is_dir():
            raise UsageError(f"{target} is a folder; name a file in it")
        if not target.absolute().parent.is_dir():
            raise UsageError(f"{target.parent} is not a folder")
    except (OSError, ValueError) as error:  # not a valid file name
        raise UsageError(f"{str(target)!a} cannot be the name of a file: {error}") from error
    if not os.access(target.absolute().parent, os.W_OK):
        raise UsageError(f"{target.parent} is not writable")


def _post(path: str, fields: Mapping[str, object], images: Images) -> Request:
    """A body of fields: JSON, or a form with the images. Raises UsageError."""
    if files := images.files():
        return Request("POST", path, form=form_of(fields) | images.form(), files=files)
    return Request("POST", path, json=fields)


def form_of(fields: Mapping[str, object]) -> dict[str, str | list[str]]:
    """Convert form fields to text: a list to JSON. None, which only `seed` may have, becomes the empty text."""
    return {name: _form_text(value) for name, value in fields.items()}


def _form_text(value: object) -> str:
    if isinstance(value, bool | list | tuple):
        return json.dumps(value)
    return "" if value is None else str(value)


def _file(image: Image) -> tuple[str, bytes]:
    if isinstance(image, bytes):
        return "image", image
    try:
        return Path(image).name, Path(image).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{image} cannot be read: {reason_of(error)}") from error


def reason_of(error: OSError | ValueError) -> str:
    """Why a file cannot be opened, in words."""
    return str(error.strerror if isinstance(error, OSError) else error)


def _json(answer: Response) -> dict[str, Any]:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(answer.status, {"error": STRANGER})
    return body


def parse(kind: type[Record], answer: Response) -> Record:
    """Read a record from a response. Raises ApiError if there is none."""
    try:
        return from_json(kind, _json(answer))
    except TypeError:
        raise ApiError(answer.status, {"error": STRANGER}) from None
