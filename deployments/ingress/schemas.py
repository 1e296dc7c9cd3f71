"""The JSON bodies of answers, and how a task row becomes one."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.signed_urls import UrlBuilder
from models.progress import Stage
from models.request.adjustments import visible_to_client
from models.request.enums import Quality
from models.request.loras import LoraChoice
from storage.outputs.store import DerivedFile, derived_key
from storage.tasks import QueuePosition, State, Task
from storage.webhooks import DeliveryState, DeliveryStatus

Status = Literal["processing", "completed", "failed"]
RENDERING = (Stage.DENOISING, Stage.UPSCALING, Stage.REFINING, Stage.DECODING)
"""The stages of a render."""
GONE_MESSAGES = {
    State.CANCELED: "the task was canceled",
    State.EXPIRED: "the video was removed because of its age",
    State.DELETED: "the video was deleted",
}
ADJUSTED = "Values that this model cannot use as you gave them, as far as the model is known yet."
QUEUED_MESSAGE = "Task queued. Poll GET /v1/video/tasks/{task_id}"


class Dimensions(BaseModel):
    """A size and a length."""

    height: int
    width: int
    num_frames: int


class ErrorBody(BaseModel):
    """The body of every error."""

    status: Literal["failed"] = "failed"
    error: Annotated[str, Field(description="What went wrong, as text for people.")]
    error_code: Annotated[str, Field(description="The kind of error, for programs; codes are never renamed.")]
    retryable: Annotated[bool, Field(description="Whether the same request may succeed later.")] = False
    field: Annotated[str | None, Field(description="The field that is wrong.")] = None
    given: Annotated[str | None, Field(description="The value that you sent.")] = None
    allowed: Annotated[str | None, Field(description="The values that are allowed.")] = None
    nearest: Annotated[
        list[Dimensions] | None, Field(description="For does_not_fit: the nearest sizes and lengths that fit.")
    ] = None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for OpenAPI."""
    return {status: {"model": ErrorBody} for status in statuses}


class AdjustedField(BaseModel):
    """A parameter of the request that the model cannot use as given."""

    field: str
    given: bool | int | float | str
    used: bool | int | float | str
    reason: str


class Submitted(BaseModel):
    """The answer to a submit."""

    task_id: str
    status: Status = "processing"
    message: str = QUEUED_MESSAGE
    seed: Annotated[int, Field(description="The seed in use; a random one if you sent null.")]
    model: str
    ignored: Annotated[list[str], Field(description="Fields that you sent and that do not exist.")] = []
    adjusted: Annotated[list[AdjustedField], Field(description=ADJUSTED)] = []


class WebhookBody(BaseModel):
    """The delivery status of the message to `webhook_url`."""

    state: DeliveryState
    attempts: Annotated[int, Field(description="Attempts so far.")]
    last_error: Annotated[str | None, Field(description="The error of the last attempt.")] = None


class Downloads(BaseModel):
    """Files that are made from a completed video when they are first asked for."""

    audio: Annotated[str | None, Field(description="The audio as WAV. Left out for a video without audio.")] = None
    last_frame: Annotated[str, Field(description="The last frame as PNG, to continue the video from it.")]
    thumbnail: Annotated[str, Field(description="The poster as a small JPEG.")]
    spritesheet: Annotated[str, Field(description="5 x 5 frames from first to last, row by row, as one JPEG.")]
    webm: Annotated[str, Field(description="The video as VP9 and Opus, for web pages.")]
    mov: Annotated[str, Field(description="The video as ProRes 422 and PCM, for editors. Some ten times as large.")]
    gif: Annotated[str, Field(description="The video as a GIF: at most 480 pixels a side, 12.5 frames per second.")]


class TaskBody(BaseModel):
    """The answer to a poll. Fields that do not apply are left out."""

    task_id: str
    status: Annotated[
        Status, Field(description="A queued task shows processing; a canceled, expired or deleted one shows failed.")
    ]
    state: State
    stage: Annotated[str | None, Field(description="The current stage, while processing.")] = None
    step: Annotated[
        int | None, Field(description="Finished steps of the stages denoising and refining, which has three.")
    ] = None
    num_inference_steps: int
    quality: Annotated[Quality, Field(description="exact, or fast, which skips work with little visible effect.")]
    loras: Annotated[
        list[LoraChoice] | None, Field(description="The LoRAs of the request, with that of its camera motion.")
    ] = None
    adjusted: Annotated[
        list[AdjustedField] | None, Field(description="The same as at the submit, once the model is known.")
    ] = None
    progress: Annotated[float, Field(description="From 0 to 1; never falls within an attempt.")]
    bytes_done: Annotated[int | None, Field(description="While the weights are fetched or loaded.")] = None
    bytes_total: int | None = None
    queue_position: Annotated[int | None, Field(description="While queued: 1 is next.")] = None
    paused: Annotated[
        Literal[True] | None, Field(description="While queued, if an operator has paused the start of tasks.")
    ] = None
    eta_s: Annotated[
        float | None,
        Field(
            description="About how many seconds until it is done, from the pace of tasks of its size. While queued: "
            "after what begins before it, and after as many of your own tasks as `max_running` of your key makes it "
            "wait for."
        ),
    ] = None
    created_at: Annotated[float, Field(description="Seconds since the epoch, as all times here.")]
    started_at: float | None = None
    finished_at: float | None = None
    timeout_s: Annotated[float | None, Field(description="The requested deadline in seconds.")] = None
    seed: int | None
    model: str
    preview_url: Annotated[
        str | None,
        Field(description="While it is denoised: a small JPEG of the video so far. The url changes with each one."),
    ] = None
    url: Annotated[str | None, Field(description="Where the MP4 is, once completed.")] = None
    expires_at: Annotated[
        float | None, Field(description="Beside `url`: when the server removes the file; left out if it keeps it.")
    ] = None
    url_expires_at: Annotated[
        float | None,
        Field(description="On a server with API keys: when `url` expires; each poll returns a fresh url."),
    ] = None
    poster_url: Annotated[str | None, Field(description="A JPEG of one frame.")] = None
    downloads: Annotated[
        Downloads | None, Field(description="The urls of further files, once completed. They expire as `url` does.")
    ] = None
    duration_s: float | None = None
    size_bytes: int | None = None
    error: Annotated[str | None, Field(description="Why it failed.")] = None
    error_code: str | None = None
    retryable: bool | None = None
    webhook: Annotated[WebhookBody | None, Field(description="The delivery status, if you gave a `webhook_url`.")] = (
        None
    )


class DeleteResult(BaseModel):
    """The answer to a DELETE."""

    task_id: str
    status: Status = "failed"
    state: State
    outcome: Annotated[
        Literal["canceled", "deleted", "already_deleted"],
        Field(description="canceled: the task had not ended; deleted: the task had ended, and its files are deleted."),
    ]


class TaskPage(BaseModel):
    """One page of tasks, newest first."""

    tasks: list[TaskBody]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null on the last.")] = None


@dataclass(frozen=True)
class QueueStatus:
    """The state of a queued task: its position, and whether an operator has paused the start of tasks."""

    place: QueuePosition
    paused: bool


def task_body(
    task: Task,
    links: UrlBuilder,
    *,
    waiting: QueueStatus | None = None,
    eta_s: float | None = None,
    kept_s: float | None = None,
    webhook: DeliveryStatus | None = None,
) -> dict[str, Any]:
    """Return the answer for a task row. Its file is removed `kept_s` seconds after the task's end, if that is known."""
    body = TaskBody(
        task_id=task.id,
        status=task_status(task.state),
        state=task.state,
        stage=task.stage,
        step=_step(task),
        num_inference_steps=task.rendered_request.num_inference_steps,
        quality=task.rendered_request.quality,
        loras=list(task.request.chosen_loras) or None,
        adjusted=adjusted_fields(task) or None,
        progress=round(task.progress, 4),
        bytes_done=task.bytes_done if task.bytes_total else None,
        bytes_total=task.bytes_total or None,
        queue_position=waiting.place.position if waiting else None,
        paused=True if waiting and waiting.paused else None,
        eta_s=None if eta_s is None else round(eta_s, 1),
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        timeout_s=task.request.timeout_s,
        seed=task.request.seed,
        model=task.model,
        preview_url=preview_url(task, links.base_url),
        webhook=None if webhook is None else WebhookBody(**asdict(webhook)),
        **_result_fields(task, links, kept_s),
    )
    return body.model_dump(mode="json", exclude_none=True)


def preview_url(task: Task, base_url: str) -> str | None:
    """The url of the task's newest preview, other than those of the earlier ones; None while it has none."""
    return f"{base_url}/v1/video/tasks/{task.id}/preview?step={task.preview_step}" if has_preview(task) else None


def has_preview(task: Task) -> bool:
    """Whether the task has a preview now: after the first one, until its render ends."""
    return task.state == State.PROCESSING and task.stage in RENDERING and task.preview_step is not None


def adjusted_fields(task: Task) -> list[AdjustedField]:
    """Return the settings that the client asked for and does not get."""
    return [AdjustedField.model_validate(asdict(each)) for each in visible_to_client(task.adjustments)]


def task_status(state: State) -> Status:
    """Map a state to one of the three statuses that clients know."""
    match state:
        case State.COMPLETED:
            return "completed"
        case State.QUEUED | State.PROCESSING:
            return "processing"
        case _:
            return "failed"


def _step(task: Task) -> int | None:
    """Return the number of finished steps. It is all of them once decoding or encoding has begun."""
    if task.state != State.PROCESSING:
        return None
    done = (Stage.UPSCALING, Stage.DECODING, Stage.ENCODING)
    return task.rendered_request.num_inference_steps if task.stage in done else task.step


def _downloads(task: Task, links: UrlBuilder) -> Downloads:
    urls = {kind: links.url_for(derived_key(task.id, kind)) for kind in DerivedFile}
    return Downloads(
        audio=urls[DerivedFile.AUDIO] if task.request.generate_audio else None,
        last_frame=urls[DerivedFile.LAST_FRAME],
        thumbnail=urls[DerivedFile.THUMBNAIL],
        spritesheet=urls[DerivedFile.SPRITESHEET],
        webm=urls[DerivedFile.WEBM],
        mov=urls[DerivedFile.MOV],
        gif=urls[DerivedFile.GIF],
    )


def _result_fields(task: Task, links: UrlBuilder, kept_s: float | None) -> dict[str, Any]:
    if task.state in GONE_MESSAGES:
        return {"error": GONE_MESSAGES[task.state], "error_code": task.state, "retryable": False}
    if task.failure is not None and task.state == State.FAILED:
        failure = task.failure
        return {"error": failure.message, "error_code": failure.code, "retryable": failure.retryable}
    if task.output is None:
        return {}
    return {
        "url": links.url_for(task.output.key),
        "expires_at": None if kept_s is None or task.finished_at is None else task.finished_at + kept_s,
        "url_expires_at": links.expires_at,
        "poster_url": links.url_for(task.output.poster_key),
        "downloads": _downloads(task, links),
        "duration_s": round(task.output.duration_s, 6),
        "size_bytes": task.output.size_bytes,
    }
