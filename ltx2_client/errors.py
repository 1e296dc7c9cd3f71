"""Errors of the client.

ClientError
|- UsageError          an argument, a file or an environment variable cannot be used
|- Unreachable         the server did not answer within the allowed time
|- ApiError            the server rejected the request, with a reason
|- TaskFailed          the task was accepted, but ended without a video
'- DownloadFailed      the video exists, but the download failed
"""

import json
from typing import Any

from ltx2_client.responses import Task


class ClientError(Exception):
    """Base class of all errors in this package. `message` is written for users."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(ClientError):
    """Nothing was sent: an argument, a file or an environment variable cannot be used."""


class Unreachable(ClientError):
    """The server did not answer, or was not ready, during the whole retry time."""


class DownloadFailed(ClientError):
    """The file did not arrive completely."""


class ApiError(ClientError):
    """The server answered with an error. For an invalid request, `field`, `given` and `allowed` say what to change."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("error") or f"the server answered {status}"))
        self.status = status
        self.code: str | None = body.get("error_code")
        self.retryable = bool(body.get("retryable"))
        self.field: str | None = body.get("field")
        self.given: str | None = body.get("given")
        self.allowed: str | None = body.get("allowed")


class TaskFailed(ClientError):
    """The task ended as failed, canceled, expired or deleted; `task` has the details."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.error or f"the task is {task.state}")
        self.task = task


def error_body(content: bytes) -> dict[str, Any]:
    """Return the server's error body; empty if the response came from something else, such as a proxy."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and "error_code" in body else {}
