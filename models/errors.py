"""The errors of the whole project, one small tree.

    VideoError
    |-- InvalidRequest        what the client sent cannot be taken
    |   |-- ImageTooLarge     it sent an image of more bytes than are taken
    |   `-- DoesNotFit        it needs more GPU memory than there is
    |-- IdempotencyKeyReused  the key came with another request before
    |-- QueueFull             as many tasks wait as may
    |-- TaskCanceled         the task is no longer this worker's: canceled, reclaimed or past its deadline
    |-- ModelUnavailable      the model could not be loaded
    |   |-- ModelNotFound     it is neither a folder here nor on the hub
    |   |-- RevisionNotFound  its repository has no such branch, tag or commit
    |   |-- ModelGated        its terms are to be accepted first
    |   |-- HubUnreachable    it is not here, and the hub cannot be asked
    |   |-- DownloadFailed    the download broke off
    |   |-- ModelDiskFull     there is no room for its files
    |   `-- ModelBroken       its files are broken
    |-- RenderFailed          the model raised while it rendered
    |   `-- GpuOutOfMemory    it needed more memory than there is
    |-- EncodeFailed          the clip could not be made into a file
    `-- StoreUnavailable      the task store or the output store did not answer
        `-- StorageFull       the output store has no room for another video

Each class has a public `code` that is never renamed, and says whether trying again can help. Constructors take
positional arguments only and keep `.message`: an exception with keyword-only arguments does not survive the way
between two Ray processes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.request.json_words import show_value


class VideoError(Exception):
    """Base of every error that a task or a client can see."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(VideoError):
    """A field of a request is wrong. Names the field, what was given (in JSON's words) and what is allowed."""

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
    """The image file has more bytes than are taken."""

    code = "image_too_large"


class DoesNotFit(InvalidRequest):
    """The render would need more memory than there is. `nearest` has the sizes and lengths that do fit."""

    code = "does_not_fit"

    def __init__(self, field: str, given: object, allowed: str, nearest: Sequence[Mapping[str, int]]) -> None:
        super().__init__(field, given, allowed)
        self.args = (field, given, allowed, nearest)
        self.nearest = nearest


class IdempotencyKeyReused(VideoError):
    """The idempotency key stands for another request."""

    code = "idempotency_key_reused"


class QueueFull(VideoError):
    """As many tasks wait as may. Says in how many seconds there will be room, where that is known."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        Exception.__init__(self, message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s


class TaskCanceled(VideoError):
    """The task does not belong to this worker any more; whatever it holds is to be dropped."""

    code = "canceled"


class ModelUnavailable(VideoError):
    """The model could not be loaded. The next task tries again."""

    code = "model_unavailable"
    retryable = True


class ModelNotFound(ModelUnavailable):
    """There is no such model, here or on the hub."""

    code = "model_not_found"
    retryable = False


class RevisionNotFound(ModelUnavailable):
    """The repository is there, the revision is not."""

    code = "model_revision_not_found"
    retryable = False


class ModelGated(ModelUnavailable):
    """The hub gives it only to those who have accepted its terms."""

    code = "model_gated"
    retryable = False


class HubUnreachable(ModelUnavailable):
    """It is not on this machine, and there is no way to the hub, or none is wanted."""

    code = "hub_unreachable"


class DownloadFailed(ModelUnavailable):
    """The download broke off. What came whole is kept."""

    code = "model_download_failed"


class ModelDiskFull(ModelUnavailable):
    """The disk has no room for it. Somebody has to make room."""

    code = "model_disk_full"


class ModelBroken(ModelUnavailable):
    """A file of it is broken or missing."""

    code = "model_broken"
    retryable = False


class RenderFailed(VideoError):
    """The model raised while it rendered this task."""

    code = "render_failed"


class GpuOutOfMemory(RenderFailed):
    """The render needed more memory than there is."""

    code = "out_of_memory"


class EncodeFailed(VideoError):
    """The clip could not be made into a file."""

    code = "encode_failed"


class StoreUnavailable(VideoError):
    """The task store or the output store did not answer."""

    code = "store_unavailable"
    retryable = True


class StorageFull(StoreUnavailable):
    """The output store has no room for another video. Somebody has to make room."""

    code = "storage_full"
