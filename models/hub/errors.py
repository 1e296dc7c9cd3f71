"""Translates download errors into this project's error classes, with a message that names the remedy."""

import errno
import json
import os

from models.checkpoint.files import INDEX
from models.errors import (
    DownloadFailed,
    HubUnreachable,
    ModelBroken,
    ModelDiskFull,
    ModelGated,
    ModelNotFound,
    ModelUnavailable,
    RevisionNotFound,
)
from models.hub.files import RepoRef

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (401, 403)
"""HTTP statuses of the hub for an unknown token, or one that may not read the repository."""


def translate_error(repository: RepoRef, error: Exception) -> ModelUnavailable | None:
    """The ModelUnavailable for an error raised in a download; None if the error does not come from a download."""
    found = _why_absent(error) or _why_refused(error) or _why_broken(error)
    if found is None:
        return None
    kind, reason = found
    return kind(" ".join(f"{repository} {reason}".split()))  # the hub's client writes messages of several paragraphs


def _why_absent(error: Exception) -> tuple[type[ModelUnavailable], str] | None:
    """Why the repository, or a needed part of it, is missing."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return ModelGated, "is gated: accept its terms on huggingface.co, and set HF_TOKEN to your token there"
        case errors.RevisionNotFoundError():
            return RevisionNotFound, "is not on the Hugging Face hub: the repository has no such branch, tag or commit"
        case errors.RepositoryNotFoundError():
            return ModelNotFound, "is not on the Hugging Face hub, or is private: check the name, and HF_TOKEN"
        case errors.IncompleteSnapshotError():
            return HubUnreachable, "is only partly on this machine, and the Hugging Face hub cannot be reached"
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return HubUnreachable, (
                "is not on this machine, and the Hugging Face hub cannot be reached: check the network, "
                "HF_ENDPOINT and HF_HUB_OFFLINE"
            )
        case _:
            return None


def _why_refused(error: Exception) -> tuple[type[ModelUnavailable], str] | None:
    """Why the hub refuses the request."""
    from huggingface_hub import errors

    match error:
        case errors.EntryNotFoundError():
            return ModelBroken, f"has no {INDEX}: it is not in the layout of diffusers"
        case errors.HFValidationError():
            return ModelNotFound, f"is not a name that a repository can have: {error}"
        case errors.HfHubHTTPError() if error.response.status_code in REFUSED:
            told = error.server_message or error
            return ModelGated, f"cannot be read with this token: check HF_TOKEN and its permissions ({told})"
        case errors.HfHubHTTPError():
            return DownloadFailed, f"could not be downloaded: {error}"
        case _:
            return None


def _why_broken(error: Exception) -> tuple[type[ModelUnavailable], str] | None:
    """What failed in the transfer, or is wrong with the downloaded files."""
    import httpx2

    if _lacks_room(error):
        return ModelDiskFull, f"does not fit on the disk: {error}"
    match error:
        case ConnectionError() | TimeoutError() | httpx2.TransportError():
            return DownloadFailed, f"could not be downloaded, the connection broke: {error}"
        case json.JSONDecodeError():
            return ModelBroken, f"has a broken {INDEX}: {error}"
        case OSError(errno=None):  # huggingface_hub raises this for a file that is too short
            return DownloadFailed, f"could not be downloaded whole: {error}"
        case RuntimeError():  # any error inside Xet, which is not written in Python
            return DownloadFailed, f"could not be downloaded: {error}"
        case _:
            return None


def _lacks_room(error: Exception) -> bool:
    """Whether the disk is full. Xet reports it only in the message's text."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    return isinstance(error, OSError | RuntimeError) and any(os.strerror(number) in str(error) for number in DISK_FULL)
