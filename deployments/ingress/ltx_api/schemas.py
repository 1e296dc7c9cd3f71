"""Response schemas of the hosted LTX API, and the conversion from a task row and from an error body."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.ingress.schemas import GONE_MESSAGES, ErrorBody
from deployments.signed_urls import UrlBuilder
from storage.tasks import State, Task

TEXT_TO_VIDEO = "text-to-video"
ENDPOINTS = (TEXT_TO_VIDEO, "image-to-video", "audio-to-video", "retake", "extend")
"""The endpoints that make videos here."""
V2_ONLY = ("video-to-video-hdr", "video-to-video-reframe")
"""Endpoints of version 2 alone that this server does not have yet."""
STORAGE = "/customers/storage"
"""Where ComfyUI starts an upload."""
PATHS = frozenset({"/v1/upload", STORAGE, *(f"/v1/{name}" for name in ENDPOINTS)})
"""Paths of version 1 and of ComfyUI. Errors of these and of everything under /v2 use this API's error body."""
V2 = "/v2/"

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "not_found_error",
    "request_too_large",
    "concurrency_limit_error",
    "api_error",
    "service_unavailable",
]
STATUS = {408: 400, 409: 400, 422: 400, 507: 503}
"""Statuses of this server that are another one here. A 422 of this API always means its content filter."""
ERROR_TYPES: Mapping[int, ErrorType] = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "concurrency_limit_error",
    500: "api_error",
    503: "service_unavailable",
    504: "api_error",
}
"""Every other status is an `invalid_request_error`."""
FIELD_NAMES = {
    "width": "resolution",
    "height": "resolution",
    "num_frames": "duration",
    "frame_rate": "fps",
    "image": "image_uri",
    "end_image": "last_frame_uri",
    "audio": "audio_uri",
    "video": "video_uri",
}
"""Fields of this server, each with the field of this API that sets it."""
EXAMPLE_ID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


class LtxError(BaseModel):
    """An error in this API's format."""

    type: ErrorType
    message: str


class LtxErrorBody(BaseModel):
    """The body of every error of this API."""

    type: Literal["error"] = "error"
    error: LtxError


class LtxSubmitted(BaseModel):
    """The answer to a submit."""

    id: Annotated[str, Field(description="The `task_id` of the other routes.")]
    created_at: datetime


class LtxResult(BaseModel):
    """The result of a completed job."""

    video_url: Annotated[
        str, Field(description="The MP4. With API keys the url is signed, and opens without a header.")
    ]


class LtxJob(BaseModel):
    """A task in the form of this API. Fields that do not apply are left out."""

    id: str
    status: Literal["pending", "processing", "completed", "failed"]
    created_at: datetime
    completed_at: Annotated[datetime | None, Field(description="When the job ended.")] = None
    result: LtxResult | None = None
    error: LtxError | None = None


class LtxUpload(BaseModel):
    """Where to send a file, and how a request then names it."""

    upload_url: Annotated[str, Field(description="Takes the file by PUT, once and without a key.")]
    storage_uri: Annotated[str, Field(description="The `image_uri` or another `..._uri` of a request, for a day.")]
    expires_at: Annotated[datetime, Field(description="Until when `upload_url` takes the file.")]
    required_headers: Annotated[dict[str, str], Field(description="Headers of the PUT; none here.")] = {}


def is_ltx_path(path: str) -> bool:
    """Whether errors of this path use this API's error body."""
    return path in PATHS or path.startswith(V2)


def ltx_error(status: int, body: ErrorBody) -> tuple[int, dict[str, Any]]:
    """Convert a status and an error body to those of this API."""
    status, message = STATUS.get(status, status), body.error
    if body.field in FIELD_NAMES:
        message = message.replace(body.field, FIELD_NAMES[body.field], 1)
    error = LtxError(type=ERROR_TYPES.get(status, "invalid_request_error"), message=message)
    return status, LtxErrorBody(error=error).model_dump()


def belongs_to(task: Task, endpoint: str) -> bool:
    """Whether the endpoint makes videos like this one. A task with an input belongs to all but text-to-video."""
    return endpoint in ENDPOINTS and (endpoint == TEXT_TO_VIDEO) == (task.input_key is None)


def submitted_of(task: Task) -> LtxSubmitted:
    """The answer to a submit of this task."""
    return LtxSubmitted(id=task.id, created_at=to_datetime(task.created_at))


def job_of(task: Task, urls: UrlBuilder) -> LtxJob:
    """Convert a task row to a job."""
    done = task.state == State.COMPLETED and task.output is not None
    return LtxJob(
        id=task.id,
        status=job_status(task.state),
        created_at=to_datetime(task.created_at),
        completed_at=None if task.finished_at is None else to_datetime(task.finished_at),
        result=LtxResult(video_url=urls.url_for(task.output.key)) if done and task.output else None,
        error=failure_of(task),
    )


def job_status(state: State) -> Literal["pending", "processing", "completed", "failed"]:
    """The status in this API for a task state."""
    match state:
        case State.QUEUED:
            return "pending"
        case State.PROCESSING:
            return "processing"
        case State.COMPLETED:
            return "completed"
        case _:
            return "failed"


def failure_of(task: Task) -> LtxError | None:
    """Why a task ended without a video; None for any other task."""
    if task.state == State.CANCELED:
        return LtxError(type="invalid_request_error", message=GONE_MESSAGES[task.state])
    if task.state in GONE_MESSAGES:
        return LtxError(type="not_found_error", message=GONE_MESSAGES[task.state])
    if task.failure is not None and task.state == State.FAILED:
        return LtxError(type="api_error", message=task.failure.message)
    return None


def to_datetime(seconds: float) -> datetime:
    """A time in seconds since the epoch as this API writes it, without a fraction."""
    return datetime.fromtimestamp(int(seconds), UTC)


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for OpenAPI."""
    return {code: {"model": LtxErrorBody} for code in codes}
