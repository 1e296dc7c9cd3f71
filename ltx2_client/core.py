"""The client's protocol without I/O. An operation is a generator that yields actions and receives their results.

`Client` runs the operations with blocking I/O, and `AsyncClient` awaits the same operations.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from ltx2_client.errors import ApiError, Unreachable, error_body

TRANSIENT = (500, 502, 503, 504)
"""HTTP statuses of a restarting server, or of the proxy in front of it."""
NO_ROUTE = 404
"""Also transient unless the body comes from the server itself: its proxy starts before its routes exist (measured)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True)
class Response:
    """The server's response. `content` is empty if the body went into a sink."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True)
class NoResponse:
    """There was no response, or it was incomplete."""

    reason: str


class Sink(Protocol):
    """Receives a body as it arrives."""

    def begin(self, answer: Response) -> bool:
        """Return True if the body is wanted."""
        ...

    def write(self, chunk: bytes) -> None:
        """Receive the next bytes."""
        ...


@dataclass(frozen=True)
class Request:
    """Action: send this request. `path` may be a full URL. If `sink` is set, it receives the body."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] | None = None
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    image: tuple[str, bytes] | None = None
    sink: Sink | None = None


@dataclass(frozen=True)
class Sleep:
    """Action: wait."""

    seconds: float


Result = TypeVar("Result")
Operation: TypeAlias = Generator[Request | Sleep, Response | NoResponse | None, Result]


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call is retried while the server does not answer, and the interval between polls, in seconds."""

    retry_timeout_s: float = 120.0
    poll_interval_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each retry, until `retry_timeout_s` is over."""
        end, pause = self.clock() + self.retry_timeout_s, FIRST_PAUSE_S
        while (left := end - self.clock()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def send_with_retry(call: Request, retry_policy: RetryPolicy) -> Operation[Response]:
    """Send until the answer is not transient. Raises Unreachable, ApiError."""
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
    """Return True if the same request may soon succeed. A body of the server itself tells this as `retryable`."""
    body = error_body(answer.content)
    if body:
        return answer.status in TRANSIENT and bool(body.get("retryable"))
    return answer.status in (*TRANSIENT, NO_ROUTE)


def _accepted(answer: Response) -> Response:
    if answer.status >= 400:  # noqa: PLR2004
        raise ApiError(answer.status, error_body(answer.content))
    return answer


def reason(answer: Response | NoResponse | None) -> str:
    """Return why the last attempt failed."""
    if isinstance(answer, Response):
        return str(error_body(answer.content).get("error") or f"the server answers {answer.status}")
    return answer.reason if isinstance(answer, NoResponse) else "no answer"
