"""Request and response schemas of OpenAI's video API, and the conversion from a task row."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.ingress.schemas import ADJUSTED, GONE_MESSAGES, AdjustedField, ErrorBody
from models.request.enums import Control
from storage.tasks import State, Task

PREFIX = "video_"
PATHS = ("/v1/videos", "/v1/models")
"""Path prefixes of this API. Errors under these paths use OpenAI's error body."""
EXAMPLE = {
    "id": "video_0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "object": "video",
    "model": "Lightricks/LTX-2",
    "status": "in_progress",
    "progress": 29,
    "created_at": 1790000000,
    "completed_at": None,
    "expires_at": None,
    "prompt": "The camera slowly pushes in while the waves roll on.",
    "size": "1280x704",
    "seconds": "4",
    "remixed_from_video_id": None,
    "error": None,
}

ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": EXAMPLE}}}}


class OpenAIError(BaseModel):
    """An error in OpenAI's format."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: Annotated[str | None, Field(description="The field that is wrong.")]
    code: Annotated[str, Field(description="The `error_code` of the other routes.")]


class OpenAIErrorBody(BaseModel):
    """The body of every error under /v1/videos and /v1/models."""

    error: OpenAIError


class VideoFailure(BaseModel):
    """Why a video failed."""

    code: str
    message: str


class Video(BaseModel):
    """A task in the form of OpenAI's video object."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: Annotated[int, Field(ge=0, le=100, description="Percent.")]
    created_at: Annotated[int, Field(description="Seconds since the epoch, as all times here.")]
    completed_at: int | None = None
    expires_at: Annotated[
        int | None,
        Field(description="When the file is removed; null until the file exists, and if the server keeps it."),
    ] = None
    prompt: str
    size: Annotated[str, Field(description="Width x height as rendered, in multiples of 64.")]
    seconds: Annotated[str, Field(description="Duration of the video in seconds.")]
    remixed_from_video_id: Annotated[
        str | None, Field(description="The video that this one was made from. It may be gone.")
    ] = None
    error: VideoFailure | None = None


class CreatedVideo(Video):
    """The answer to a create."""

    ignored: Annotated[list[str], Field(description="Fields that you sent and that do not exist.")] = []
    adjusted: Annotated[list[AdjustedField], Field(description=ADJUSTED)] = []


class VideoPage(BaseModel):
    """One page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: Annotated[str | None, Field(description="`after` of the next page.")]
    has_more: bool


class VideoDeleted(BaseModel):
    """The answer to a DELETE."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class ServedLora(BaseModel):
    """A LoRA that a request may pick, as `loras: [{"name": ..., "scale": ...}]`."""

    name: str
    trigger: Annotated[str, Field(description="Words that a prompt should have for it; may be empty.")]
    max_scale: Annotated[float, Field(description="The largest scale that a request may ask for.")]
    control: Annotated[
        Control | None,
        Field(description="What the control video of an IC-LoRA shows; null for a LoRA that needs none."),
    ] = None


class ServedModel(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="When this server began to serve it, in seconds since the epoch.")]
    owned_by: str
    root: Annotated[str, Field(description="The model that renders. `id` may be an alias of it.")]
    loras: Annotated[list[ServedLora], Field(description="The LoRAs that a request may pick.")] = []
    upscale: Annotated[
        bool | None,
        Field(
            description="Whether `upscale` is served: the model has a latent upsampler, and a base model its "
            "distilled LoRA. null: not known before the model is loaded."
        ),
    ] = None


class ModelList(BaseModel):
    """All models that are served."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


def video_of(task: Task, kept_s: float | None) -> Video:
    """Convert a task row to a video of OpenAI's API.

    The file is removed `kept_s` seconds after the end of the task; None: it is kept.
    """
    rendered = task.rendered_request
    completed = task.state == State.COMPLETED
    ended_at = task.finished_at if completed else None
    return Video(
        id=PREFIX + task.id,
        model=task.model,
        status=video_status(task.state),
        progress=100 if completed else int(task.progress * 100),
        created_at=int(task.created_at),
        completed_at=None if ended_at is None else int(ended_at),
        expires_at=None if ended_at is None or kept_s is None else int(ended_at + kept_s),
        prompt=task.request.prompt,
        size=f"{rendered.width}x{rendered.height}",
        seconds=f"{rendered.duration_s:g}",
        remixed_from_video_id=None if task.source_task is None else PREFIX + task.source_task,
        error=failure_of(task),
    )


def openai_error(status: int, body: ErrorBody, names: Mapping[str, str]) -> dict[str, Any]:
    """Convert an error body to OpenAI's format. `names` maps fields of this server to the client's names for them."""
    kind: Literal["invalid_request_error", "rate_limit_error", "server_error"] = "invalid_request_error"
    if status == 429:  # noqa: PLR2004
        kind = "rate_limit_error"
    elif status >= 500:  # noqa: PLR2004
        kind = "server_error"
    parameter, message = body.field, body.error
    if parameter is not None and parameter in names:
        message = message.replace(parameter, names[parameter], 1)
        parameter = names[parameter]
    error = OpenAIError(message=message, type=kind, param=parameter, code=body.error_code)
    return OpenAIErrorBody(error=error).model_dump()


def video_status(state: State) -> Literal["queued", "in_progress", "completed", "failed"]:
    """The status in OpenAI's API for a task state."""
    match state:
        case State.QUEUED:
            return "queued"
        case State.PROCESSING:
            return "in_progress"
        case State.COMPLETED:
            return "completed"
        case _:
            return "failed"


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for OpenAPI."""
    return {code: {"model": OpenAIErrorBody} for code in codes}


def failure_of(task: Task) -> VideoFailure | None:
    """The reason why a task ended without a video; None for any other task."""
    if task.state in GONE_MESSAGES:
        return VideoFailure(code=task.state, message=GONE_MESSAGES[task.state])
    if task.failure is not None and task.state == State.FAILED:
        return VideoFailure(code=task.failure.code, message=task.failure.message)
    return None
