"""The types of operations, which do no I/O themselves.

An operation is a generator. It yields a Request or a Sleep, and receives the result of it. `Client` (blocking) and
`AsyncClient` (asyncio) run the same operations and contain no logic of their own.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar

from ltx2_client.errors import ApiError, Unreachable, error_body

TRANSIENT = (500, 502, 503, 504)
"""Statuses of a restarting server, or of the proxy in front of it."""
NOT_ENHANCED = "enhancement_failed"
"""The server has waited for its language model already, and a retry would pay for another answer."""
NO_ROUTE = 404
"""Also transient, unless the body is the server's own: the proxy starts before the routes exist (measured)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True)
class Response:
    """A response of the server. `content` is empty if the body was written to a sink."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True)
class NoResponse:
    """There was no response, or only a part of one."""

    reason: str


class Sink(Protocol):
    """Receives a response body in chunks."""

    def begin(self, answer: Response) -> bool:
        """Receive status and headers. Returns whether the body shall be written to this sink."""
        ...

    def write(self, chunk: bytes) -> None:
        """Receive the next bytes of the body."""
        ...


@dataclass(frozen=True)
class Request:
    """An instruction to send a request.

    `path` may also be a complete url. With `sink`, the response body is written to it.

    `files` are the files of the form: each with its field, its name and its content. An open file is read in chunks
    while it is sent, and again from its start in a retry.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] | None = None
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str | list[str]] | None = None
    files: Sequence[tuple[str, tuple[str, bytes | BinaryIO]]] = ()
    sink: Sink | None = None
    timeout_s: float | None = None
    """The longest pause in the answer, in seconds. None means the client's own limit."""


@dataclass(frozen=True)
class Sleep:
    """An instruction to wait."""

    seconds: float


Result = TypeVar("Result")
Operation: TypeAlias = Generator[Request | Sleep, Response | NoResponse | None, Result]


@dataclass(frozen=True)
class RetryPolicy:
    """How long to retry while the server does not answer, and the interval between polls of a task, in seconds."""

    retry_timeout_s: float = 120.0
    poll_interval_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each retry in seconds, until `retry_timeout_s` has passed."""
        end, pause = self.clock() + self.retry_timeout_s, FIRST_PAUSE_S
        while (left := end - self.clock()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def send_with_retry(call: Request, retry_policy: RetryPolicy) -> Operation[Response]:
    """Send a request, and retry after transient errors. Raises Unreachable, ApiError."""
    pauses = retry_policy.pauses()
    while True:
        answer = yield call
        if isinstance(answer, Response) and not is_transient(answer):
            return _accepted(answer)
        pause = next(pauses, None)
        if pause is None:
            raise Unreachable(reason(answer))
        yield Sleep(pause)


def is_transient(answer: Response) -> bool:
    """Whether a retry can help. If the body is the server's own, it must also have `retryable` set."""
    body = error_body(answer.content)
    if body:
        return answer.status in TRANSIENT and bool(body.get("retryable")) and body.get("error_code") != NOT_ENHANCED
    return answer.status in (*TRANSIENT, NO_ROUTE)


def _accepted(answer: Response) -> Response:
    if answer.status >= 400:  # noqa: PLR2004
        raise ApiError(answer.status, error_body(answer.content))
    return answer


def reason(answer: Response | NoResponse | None) -> str:
    """The reason of a failure, in words."""
    if isinstance(answer, Response):
        return str(error_body(answer.content).get("error") or f"the server answers {answer.status}")
    return answer.reason if isinstance(answer, NoResponse) else "no answer"
