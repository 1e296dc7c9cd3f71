"""The error classes of the whole project, in one tree.

    VideoError
    |-- InvalidRequest        a field of the request has a wrong value
    |   |-- ImageTooLarge     the image file has too many bytes
    |   |-- FileTooLarge      the audio or video file has too many bytes
    |   `-- DoesNotFit        the request needs more GPU memory than is available
    |-- IdempotencyKeyReused  the key was used before with another request
    |-- ReaderLost            the process that read the audio or video file was killed
    |-- EnhancementFailed     the language model did not rewrite the prompt
    |-- QueueFull             the queue has reached its limit
    |-- TaskCanceled          this worker no longer owns the task: canceled, reclaimed or past its deadline
    |-- ModelUnavailable      the model could not be loaded
    |   |-- ModelNotFound     there is no such folder and no such hub repository
    |   |-- RevisionNotFound  the repository has no such branch, tag or commit
    |   |-- ModelGated        the model's terms must be accepted first
    |   |-- HubUnreachable    the model is not on this machine, and the hub cannot be reached
    |   |-- DownloadFailed    the download was interrupted
    |   |-- ModelDiskFull     the disk has no space for the model's files
    |   |-- ModelBroken       the model's files are damaged or missing
    |   `-- LoraUnusable      a LoRA of the operator is missing, damaged or made for another model
    |-- RenderFailed          the model raised an error during the render
    |   `-- GpuOutOfMemory    the render needed more memory than is available
    |-- EncodeFailed          the clip could not be encoded
    `-- StoreUnavailable      the task store or the output store did not respond
        `-- StorageFull       the output store has no space for another video

Each class has a public `code`, which is never renamed, and `retryable`, which is true if a retry can help. Constructors
take positional arguments only and keep `.message`: an exception with keyword-only arguments cannot be passed between
two Ray processes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.request.json_words import show_value


class VideoError(Exception):
    """Base class of every error that a task or a client can see."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(VideoError):
    """A field of a request is wrong. The message names the field, the given value (as JSON) and what is allowed."""

    code = "invalid_request"

    def __init__(self, field: str, given: object, allowed: str) -> None:
        shown = show_value(given)
        Exception.__init__(self, field, given, allowed)
        self.message = f"{field} must be {allowed}; {shown} was given"
        self.field = field
        self.given = shown
        self.allowed = allowed

    def __str__(self) -> str:
        return self.message


class ImageTooLarge(InvalidRequest):
    """The image file has more bytes than the limit."""

    code = "image_too_large"


class FileTooLarge(InvalidRequest):
    """The audio or video file has more bytes than the limit."""

    code = "file_too_large"


class DoesNotFit(InvalidRequest):
    """The render would need more memory than is available. `nearest` lists sizes and lengths that fit."""

    code = "does_not_fit"

    def __init__(self, field: str, given: object, allowed: str, nearest: Sequence[Mapping[str, int]]) -> None:
        super().__init__(field, given, allowed)
        self.args = (field, given, allowed, nearest)
        self.nearest = nearest


class IdempotencyKeyReused(VideoError):
    """The idempotency key was used before with another request."""

    code = "idempotency_key_reused"


class ReaderLost(VideoError):
    """The process that read a file was killed from outside, as for want of memory on the host."""

    code = "reader_lost"
    retryable = True


class EnhancementFailed(VideoError):
    """The language model did not rewrite the prompt."""

    code = "enhancement_failed"
    retryable = True


class QueueFull(VideoError):
    """The queue has reached its limit. `retry_after_s` is the expected wait in seconds, or None if unknown."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        Exception.__init__(self, message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s


class TaskCanceled(VideoError):
    """This worker no longer owns the task and must discard everything it holds for it."""

    code = "canceled"


class ModelUnavailable(VideoError):
    """The model could not be loaded. The next task tries again."""

    code = "model_unavailable"
    retryable = True


class ModelNotFound(ModelUnavailable):
    """The model exists neither on this machine nor on the hub."""

    code = "model_not_found"
    retryable = False


class RevisionNotFound(ModelUnavailable):
    """The repository exists, but not the revision."""

    code = "model_revision_not_found"
    retryable = False


class ModelGated(ModelUnavailable):
    """The hub requires that the model's terms are accepted first."""

    code = "model_gated"
    retryable = False


class HubUnreachable(ModelUnavailable):
    """The model is not on this machine, and the hub cannot be reached or offline mode is on."""

    code = "hub_unreachable"


class DownloadFailed(ModelUnavailable):
    """The download was interrupted. Complete files are kept."""

    code = "model_download_failed"


class ModelDiskFull(ModelUnavailable):
    """The disk has no space for the model. An operator must free some."""

    code = "model_disk_full"


class ModelBroken(ModelUnavailable):
    """A file of the model is damaged or missing."""

    code = "model_broken"
    retryable = False


class LoraUnusable(ModelUnavailable):
    """A LoRA of the operator is missing, damaged or made for another model."""

    code = "lora_unusable"
    retryable = False


class RenderFailed(VideoError):
    """The model raised an error while it rendered this task."""

    code = "render_failed"


class GpuOutOfMemory(RenderFailed):
    """The render needed more memory than is available."""

    code = "out_of_memory"


class EncodeFailed(VideoError):
    """The clip could not be encoded into a file."""

    code = "encode_failed"


class StoreUnavailable(VideoError):
    """The task store or the output store did not respond."""

    code = "store_unavailable"
    retryable = True


class StorageFull(StoreUnavailable):
    """The output store has no space for another video. An operator must free some."""

    code = "storage_full"
