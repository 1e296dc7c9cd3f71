"""The errors of the client.

ClientError
|- UsageError        an argument, a file or an environment variable cannot be used
|- Unreachable       the server did not answer within the retry time, or no retry can help
|- ApiError          the server answered with an error
|- TaskFailed        the task ended without a video
'- DownloadFailed    the video could not be downloaded or saved
"""

import json
from typing import Any

from ltx2_client.responses import Task


class ClientError(Exception):
    """The base class of all errors of this package. `message` is text for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(ClientError):
    """An argument, a file or an environment variable cannot be used. Nothing was sent."""


class Unreachable(ClientError):
    """The server did not answer within the retry time, or only with transient errors.

    Raised at once if a retry cannot help, for example if the server's certificate is not trusted.
    """


class DownloadFailed(ClientError):
    """The video could not be downloaded completely, or could not be written, or the task has none."""


class ApiError(ClientError):
    """The server answered with an error, or the response is not one of an LTX-2 server.

    For an invalid request, `field`, `given` and `allowed` tell what to change.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("error") or f"the server answered {status}"))
        self.status = status
        self.code: str | None = body.get("error_code")
        self.retryable = bool(body.get("retryable"))
        self.field: str | None = body.get("field")
        self.given: str | None = body.get("given")
        self.allowed: str | None = body.get("allowed")


class TaskFailed(ClientError):
    """The task has failed, or was canceled, expired or deleted. `task` has the details."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.error or f"the task is {task.state}")
        self.task = task


def error_body(content: bytes) -> dict[str, Any]:
    """The server's error body; empty if the body is not the server's own, for example a proxy's error page."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and "error_code" in body else {}
