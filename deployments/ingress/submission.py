"""Checks a submitted request and writes it as a task row into the queue, with the ids of the HTTP request."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.images.given import FittedImages
from deployments.ingress.media.conversion import ReadMedia, less_context, parse_media_fields
from deployments.ingress.request_body.given_images import GivenImages
from deployments.ingress.request_body.given_media import GivenMedia, MediaUse
from deployments.ingress.routes.estimate import adjust_to_model, check_control
from deployments.ingress.webhooks.ssrf import check_webhook
from deployments.observability.metrics.definitions import TASKS_SUBMITTED
from deployments.work_folder import work_folder
from models.errors import DoesNotFit, InvalidRequest, QueueFull
from models.request.adjustments import ENHANCED, Adjustment
from models.request.loras import check_loras
from models.request.request import VideoRequest, draws_seed, parse_request
from storage.inputs import NO_INPUTS, TaskInputs, pack_inputs, write_archive
from storage.outputs.store import input_key
from storage.tasks import ANONYMOUS, Idempotency, NewTask, RequestContext, Task

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")
LATER_FIELDS = ("generate_audio", "enhance_prompt", "loras", "camera_motion", "upscale")
"""Fields that an earlier version did not have. At their defaults they do not change the digest of a request, so that a
submit may be repeated after an upgrade.
"""
IDEMPOTENCY_PARAMETER = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "description": "For a day, the same key and request return the same task; the key with another request is a 422.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


@dataclass(frozen=True)
class Submission:
    """What a client sent, and the base URL for its answers."""

    base_url: str
    fields: Mapping[str, object]
    given: GivenImages
    media: GivenMedia | None = field(default=None, kw_only=True)
    key: str | None
    owner: str = ANONYMOUS
    context: RequestContext = field(default_factory=RequestContext)

    @property
    def awaits_length(self) -> bool:
        """Whether only the file tells the rate and the length of the video, in which its images have places."""
        return self.media is not None and self.media.use is MediaUse.CONTROL

    def images_digest(self, request: VideoRequest) -> str:
        """Tells different images and places apart. Empty without images."""
        if not self.given.files:
            return ""
        return self.given.digest_as_sent() if self.awaits_length else self.given.digest(request)


def check_admission(context: AppContext, submission: Submission) -> Task | NewTask:
    """Check everything that can refuse a submit before its images are decoded, which costs the most.

    Returns the task for `submit_new`, or the task of an earlier submit if this one repeats it. Raises the same errors
    as `submit_request`.
    """
    new = _new_task(context, submission)
    context.check_space()
    try:
        return context.tasks.check_queue_limit(new, context.settings.ingress.max_queued) or new
    except QueueFull as error:
        raise _with_retry_after(context, error) from None


def submit_request(context: AppContext, submission: Submission) -> Task:
    """Check everything, then write the row of a task without images. Returns as `submit_new` does."""
    return submit_new(context, _new_task(context, submission))


def submit_new(
    context: AppContext,
    new: NewTask,
    fitted: FittedImages | None = None,
    enhancement: Adjustment | None = None,
    media: ReadMedia | None = None,
) -> Task:
    """Write the input file and after it the row, so that no row names a missing file.

    `enhancement` is what came of `enhance_prompt`, if the request asks for it. Returns the task of an earlier submit if
    this one repeats it.
    """
    context.check_space()
    if enhancement is not None:
        prompt = {"prompt": enhancement.used} if enhancement.reason == ENHANCED else {}
        new = replace(new, request=new.request.model_copy(update=prompt), adjustments=(*new.adjustments, enhancement))
    if fitted is None and media is None:
        adjusted = adjust_to_model(context, new.request, ())
        return _submit(context, replace(new, adjustments=(*new.adjustments, *adjusted)))
    request, key = new.request if fitted is None else fitted.sized(new.request), input_key(new.id)
    inputs = TaskInputs(
        () if fitted is None else fitted.images,
        None if media is None else media.audio,
        None if media is None else media.source,
        None if media is None else media.control,
    )
    inputs, adjusted = _fit_to_memory(context, request, inputs)
    _store_inputs(context, key, inputs)
    try:
        adjustments = (*new.adjustments, *adjusted)
        rendered = _rendered_frames(inputs, request)
        new = replace(new, request=request, input_key=key, adjustments=adjustments, rendered_frames=rendered)
        task = _submit(context, new, inputs)
    except BaseException:
        context.outputs.delete(key)
        raise
    if task.id != new.id:
        context.outputs.delete(key)
    return task


def _new_task(context: AppContext, submission: Submission) -> NewTask:
    """Build the task from its fields, before its images are read. Raises VideoError if the server refuses it."""
    settings = context.settings
    decided = {} if submission.media is None else submission.media.placeholders(settings.limits)
    request = check_webhook(parse_request({**submission.fields, **decided}, settings.limits), settings.webhooks)
    if not submission.awaits_length:
        submission.given.parse_places(request)
    if submission.media is not None:
        parse_media_fields(submission.media.use, submission.media.fields, settings.limits)
    check_loras(request.loras, request.camera_motion, settings.generator.known_loras)
    check_control(request, None if submission.media is None else submission.media.use, settings.generator.known_loras)
    context.enhancer.check_request(request)
    context.model_info.check_upscale(request)
    return NewTask(
        request,
        context.model,
        submission.base_url,
        idempotency=_idempotency(submission, request),
        owner=submission.owner,
        context=submission.context,
        source_task=None if submission.media is None else submission.media.task_id,
    )


def _store_inputs(context: AppContext, key: str, inputs: TaskInputs) -> None:
    """Write the input file. That of a video goes through a temporary file, because it has up to MAX_WRITTEN_BYTES."""
    if not inputs.has_video:
        context.outputs.put(key, pack_inputs(inputs))
        return
    with work_folder() as folder:
        packed = folder / "inputs"
        with packed.open("wb") as file:
            write_archive(inputs, file)
        context.outputs.put(key, packed)


def _fit_to_memory(
    context: AppContext, request: VideoRequest, inputs: TaskInputs
) -> tuple[TaskInputs, tuple[Adjustment, ...]]:
    """The inputs, of which an edit has no more context than fits, and what the model overrides. Raises DoesNotFit."""
    while True:
        try:
            return inputs, _adjust_to_model(context, request, inputs)
        except DoesNotFit:
            edit = None if inputs.source is None else less_context(inputs.source.edit, request.num_frames)
            if inputs.source is None or edit is None:
                raise
            inputs = replace(inputs, source=replace(inputs.source, edit=edit))


def _adjust_to_model(context: AppContext, request: VideoRequest, inputs: TaskInputs) -> tuple[Adjustment, ...]:
    places = [each.place for each in inputs.images]
    edit = None if inputs.source is None else inputs.source.edit
    factor = 0 if inputs.control is None else inputs.control.downscale_factor
    has_audio = inputs.audio is not None
    return adjust_to_model(context, request, places, has_audio=has_audio, edit=edit, control_factor=factor)


def _submit(context: AppContext, new: NewTask, inputs: TaskInputs = NO_INPUTS) -> Task:
    try:
        task = context.tasks.submit(new, context.settings.ingress.max_queued)
    except QueueFull as error:
        raise _with_retry_after(context, error) from None
    if task.id == new.id:
        context.metrics.add(TASKS_SUBMITTED, kind=_kind_of(inputs))
    return task


def _rendered_frames(inputs: TaskInputs, request: VideoRequest) -> int | None:
    """How many frames of the result the model renders, if there is an edit."""
    return None if inputs.source is None else len(inputs.source.edit.rendered(request.num_frames))


def _kind_of(inputs: TaskInputs) -> str:
    """What a task is made from, for the metrics."""
    if inputs.has_video:
        return "video"
    if inputs.audio is not None:
        return "audio"
    return "image" if inputs.images else "text"


def _with_retry_after(context: AppContext, error: QueueFull) -> QueueFull:
    return QueueFull(error.message, context.throughput.retry_after_s())


def _idempotency(submission: Submission, request: VideoRequest) -> Idempotency | None:
    """Return the key and a digest of the parsed request. Explicit defaults and field order do not change it."""
    if submission.key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(submission.key):
        raise InvalidRequest(IDEMPOTENCY_HEADER, submission.key, "1 to 255 printable ASCII characters")
    meant = request.model_copy(update={"seed": None}) if draws_seed(submission.fields) else request
    later = {name for name in LATER_FIELDS if getattr(meant, name) == VideoRequest.model_fields[name].default}
    image = submission.images_digest(request)
    media = "" if submission.media is None else f" {submission.media.digest()}"
    told = f"{meant.model_dump_json(exclude=later)} {image}{media}"
    return Idempotency(submission.key, hashlib.sha256(told.encode()).hexdigest())


REQUEST_ID = re.compile(r"[!-~]{1,128}")
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version 00 of the W3C Trace Context. We cannot know what a later version would make us pass on."""


def read_request_context(request: Request) -> RequestContext:
    """Read both headers. A malformed value counts as missing."""
    return RequestContext(
        _matching(REQUEST_ID, request.headers.get("x-request-id")),
        _matching(TRACEPARENT, request.headers.get("traceparent")),
    )


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None
