"""Talking to the server without doing any I/O: a talk yields what is to be done and is sent what came of it.

The same talk is driven by `Client`, which blocks, and by `AsyncClient`, which awaits; neither knows what it is about.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from ltx2_client.errors import ApiError, Unreachable, error_body

TRANSIENT = (500, 502, 503, 504)
"""What a server that restarts answers, or the proxy in front of it."""
NO_ROUTE = 404
"""Passes too unless the server itself says it: its proxy is there before the routes are (measured)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True)
class Response:
    """What the server answered. `content` is empty where the body went into a sink."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True)
class NoResponse:
    """No answer, or not all of it."""

    reason: str


class Sink(Protocol):
    """Takes a body as it arrives."""

    def begin(self, answer: Response) -> bool:
        """Whether the body is wanted."""
        ...

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...


@dataclass(frozen=True)
class Request:
    """To do: send this. `path` may also be a whole url. With a sink, the body goes there."""

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
    """To do: wait."""

    seconds: float


Result = TypeVar("Result")
Operation: TypeAlias = Generator[Request | Sleep, Response | NoResponse | None, Result]


@dataclass(frozen=True)
class RetryPolicy:
    """How long a server that does not answer is asked again, and how often a task is polled, in seconds."""

    retry_timeout_s: float = 120.0
    poll_interval_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def pauses(self) -> Iterator[float]:
        """How long to wait before each further try, until patience ends."""
        end, pause = self.clock() + self.retry_timeout_s, FIRST_PAUSE_S
        while (left := end - self.clock()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def send_with_retry(call: Request, retry_policy: RetryPolicy) -> Operation[Response]:
    """Send until there is an answer that is more than "not now". Raises Unreachable, Refused."""
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
    """Whether the same request may well be answered soon. A server that is up says so itself."""
    body = error_body(answer.content)
    if body:
        return answer.status in TRANSIENT and bool(body.get("retryable"))
    return answer.status in (*TRANSIENT, NO_ROUTE)


def _accepted(answer: Response) -> Response:
    if answer.status >= 400:  # noqa: PLR2004
        raise ApiError(answer.status, error_body(answer.content))
    return answer


def reason(answer: Response | NoResponse | None) -> str:
    """Why there is nothing better, in words."""
    if isinstance(answer, Response):
        return str(error_body(answer.content).get("error") or f"the server answers {answer.status}")
    return answer.reason if isinstance(answer, NoResponse) else "no answer"
