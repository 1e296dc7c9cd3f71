"""What can go wrong, seen from the client.

ClientError
|- UsageError          an argument, a file or a variable of the environment cannot be used
|- Unreachable       no answer in all the time that was allowed
|- Refused           the server said no, and why
|- TaskFailed        the task was taken, and ended without a video
'- DownloadFailed    the video is there and did not arrive
"""

import json
from typing import Any

from ltx2_client.responses import Task


class ClientError(Exception):
    """Any error of this package. `message` is for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(ClientError):
    """Nothing was sent: an argument, a file or a variable of the environment cannot be used."""


class Unreachable(ClientError):
    """The server gave no answer, or only that it is not ready, for as long as the client was patient."""


class DownloadFailed(ClientError):
    """The file did not arrive whole."""


class ApiError(ClientError):
    """The server answered with an error. For a wrong request, `field`, `given` and `allowed` say what to change."""

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
    """The server's error body; empty if something else answered, such as a proxy with a page of its own."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and "error_code" in body else {}
