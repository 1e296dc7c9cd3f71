"""Behaviors of S3 servers that differ from AWS: the response to a write does not show its result.

Each behavior is created anew for each server, because some keep state. Each is a fault for the proxy in s3.py.
"""

import time
from collections.abc import Callable

from tests.s3 import Handler

Fault = Callable[[Handler], bool]
COPIED = b"<CopyObjectResult><ETag>&quot;0&quot;</ETag></CopyObjectResult>"
ERROR = b"<Error><Code>InternalError</Code><Message>told to</Message></Error>"
LAG_S = 0.3


def says(status: int, code: str, *, times: int = 1_000, made: bool = False, of_all: bool = False) -> Fault:
    """Refuse the first `times` copies with a condition, or of all kinds. With `made`, the copy is still done first."""
    left = [times]

    def fault(request: Handler) -> bool:
        if not request.copies or not (of_all or request.conditional) or left[0] == 0:
            return False
        left[0] -= 1
        if made:
            request.ask()
        return request.refuse(status, code)

    return fault


def answers_200(content: bytes, times: int) -> Fault:
    """Answer the first `times` copies with 200 without doing them."""
    left = [times]

    def fault(request: Handler) -> bool:
        if not request.copies or left[0] == 0:
            return False
        left[0] -= 1
        return request.answer(200, [("Content-Length", str(len(content)))], content)

    return fault


def is_silent_after(times: int) -> Fault:
    """Do the copies, but do not answer the first `times` of them."""
    left = [times]

    def fault(request: Handler) -> bool:
        if not request.copies or left[0] == 0:
            return False
        left[0] -= 1
        request.ask()
        return request.say_nothing()

    return fault


def writes_half(answer: Fault) -> Fault:
    """Write a file of another size to the target of the first copy, then answer with `answer`."""
    begun = []

    def fault(request: Handler) -> bool:
        if not request.copies or begun:
            return False
        begun.append(True)
        put_instead(request, b"half")
        return answer(request)

    return fault


def put_instead(request: Handler, content: bytes) -> None:
    """Write this content instead of the request's own."""
    kept = dict(request.headers.items())
    for name in ("x-amz-copy-source", "if-none-match", "content-length", "content-md5"):
        for each in [each for each in kept if each.lower() == name]:
            del request.headers[each]
    request.headers["Content-Length"] = str(len(content))
    request.body, body = content, request.body
    request.ask()
    request.body = body
    for each in list(request.headers):
        del request.headers[each]
    for name, value in kept.items():
        request.headers[name] = value


def lags() -> Fault:
    """For some time after a write, reads return the previous state."""
    written: dict[str, float] = {}

    def fault(request: Handler) -> bool:
        path = request.path.partition("?")[0]
        if request.command in ("PUT", "POST"):
            written[path] = time.monotonic()
        fresh = time.monotonic() - written.get(path, float("-inf")) < LAG_S
        return request.command == "HEAD" and fresh and request.refuse(404, "NoSuchKey")

    return fault


def sends_no_etag(request: Handler) -> bool:
    """Describe files only by size."""
    if request.command != "HEAD":
        return False
    status, headers, content = request.ask()
    return request.answer(
        status, [each for each in headers if each[0].lower() not in ("etag", "last-modified")], content
    )


def obeys() -> Fault:
    """Behave like AWS: refuse a conditional copy if the target exists."""

    def fault(request: Handler) -> bool:
        if not (request.copies and request.conditional):
            return False
        command, request.command = request.command, "HEAD"
        source = request.headers["x-amz-copy-source"]
        del request.headers["x-amz-copy-source"]
        status, _, _ = request.ask()
        request.command = command
        request.headers["x-amz-copy-source"] = source
        return status == 200 and request.refuse(412, "PreconditionFailed")

    return fault


PUBLISHING: dict[str, Callable[[], Fault]] = {
    "obeys the condition": obeys,
    "412 for the source": lambda: says(412, "PreconditionFailed"),
    "412 without a body": lambda: says(412, ""),
    "412 after its own copy": lambda: says(412, "PreconditionFailed", made=True),
    "412 with a target of another size": lambda: writes_half(lambda request: request.refuse(412, "PreconditionFailed")),
    "half a copy and no answer": lambda: writes_half(lambda request: request.hang_up()),
    "200 without a copy": lambda: answers_200(COPIED, 1),
    "200 with an error": lambda: answers_200(ERROR, 1),
    "501": lambda: says(501, "NotImplemented"),
    "501 without a body": lambda: says(501, ""),
    "400": lambda: says(400, "InvalidArgument"),
    "409": lambda: says(409, "ConditionalRequestConflict"),
    "404 for the source after a copy": lambda: says(404, "NoSuchKey", times=1, made=True),
    "503 for a while": lambda: says(503, "SlowDown", times=1, of_all=True),
    "503 after a copy": lambda: says(503, "SlowDown", times=1, made=True, of_all=True),
    "a time-out after the copy": lambda: is_silent_after(1),
    "reads that lag": lags,
    "no ETag": lambda: sends_no_etag,
}
"""Behaviors with which a file can be published."""

HOPELESS: dict[str, Callable[[], Fault]] = {
    "200 and never a copy": lambda: answers_200(COPIED, 1_000),
    "412 and never a copy": lambda: says(412, "PreconditionFailed", of_all=True),
    "403 for copies": lambda: says(403, "AccessDenied", of_all=True),
    "404 for every source": lambda: says(404, "NoSuchKey", of_all=True),
}
"""Behaviors with which no file can be published."""
