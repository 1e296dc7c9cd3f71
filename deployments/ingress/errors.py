"""Maps domain errors to HTTP answers: one table of statuses, one body.

Under the paths of OpenAI's API and of the hosted LTX API, the body is theirs.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from deployments.ingress.ltx_api.schemas import is_ltx_path, ltx_error
from deployments.ingress.middleware.headers import SECURITY_HEADERS
from deployments.ingress.openai.schemas import PATHS, openai_error
from deployments.ingress.schemas import Dimensions, ErrorBody
from models.errors import (
    DoesNotFit,
    EnhancementFailed,
    FileTooLarge,
    IdempotencyKeyReused,
    ImageTooLarge,
    InvalidRequest,
    QueueFull,
    ReaderLost,
    StorageFull,
    StoreUnavailable,
    VideoError,
)
from models.request.json_words import Described


class PayloadTooLarge(InvalidRequest):
    """The body is larger than its limit."""

    code = "too_large"

    def __init__(self, given: str, max_bytes: int, of: str = "") -> None:
        super().__init__("body", Described(given), f"at most {max_bytes} bytes {of}".rstrip())


STATUS: dict[type[VideoError], int] = {
    PayloadTooLarge: 413,
    ImageTooLarge: 413,
    FileTooLarge: 413,
    InvalidRequest: 422,
    IdempotencyKeyReused: 422,
    QueueFull: 429,
    ReaderLost: 503,
    EnhancementFailed: 503,
    StorageFull: 507,
    StoreUnavailable: 503,
}
CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "too_large",
    416: "range_not_satisfiable",
    422: "not_supported",
    429: "too_many_requests",
}
RETRY_AFTER_S = "5"
BUSY_RETRY_AFTER_S = "10"

logger = logging.getLogger("ray.serve")


class FieldError(HTTPException):
    """An HTTP error for which a field of the body may be to blame."""

    def __init__(self, status: int, why: str, field: str | None = None) -> None:
        super().__init__(status, why)
        self.field = field


class NotFound(FieldError):
    """The thing that the request, or its field, names does not exist."""

    def __init__(self, what: str, field: str | None = None) -> None:
        super().__init__(404, what, field)


class Forbidden(HTTPException):
    """The credentials of the request do not allow what it asks for."""

    def __init__(self, why: str) -> None:
        super().__init__(403, why)


class Conflict(FieldError):
    """The current state does not allow the request."""

    def __init__(self, why: str, field: str | None = None) -> None:
        super().__init__(409, why, field)


class Gone(FieldError):
    """The thing that the request, or its field, names was removed."""

    def __init__(self, what: str, field: str | None = None) -> None:
        super().__init__(410, what, field)


class NotSupported(HTTPException):
    """The request asks for something that this server does not do."""

    def __init__(self, why: str) -> None:
        super().__init__(422, why)


class RequestTimeout(HTTPException):
    """The body did not arrive in time."""

    def __init__(self, what: str) -> None:
        super().__init__(408, what, {"Connection": "close"})


class TooManyRequests(HTTPException):
    """Too many requests of one kind are open. `code` names the limit if it is the limit of one owner."""

    def __init__(self, why: str, code: str = CODES[429]) -> None:
        super().__init__(429, why, {"Retry-After": BUSY_RETRY_AFTER_S})
        self.code = code


def error_body(error: HTTPException) -> ErrorBody:
    """Return the error body for an HTTP error."""
    code = error.code if isinstance(error, TooManyRequests) else CODES.get(error.status_code, "http_error")
    field = error.field if isinstance(error, FieldError) else None
    retryable = error.status_code in (408, 429, 503)
    return ErrorBody(error=str(error.detail), error_code=code, retryable=retryable, field=field)


def add_error_handlers(app: FastAPI) -> None:
    """Register handlers that give every error of the app the same body."""

    async def video_error(request: Request, error: VideoError) -> JSONResponse:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        if status >= 500:  # noqa: PLR2004
            logger.error("%s: %s", error.code, error.message, exc_info=error)
        body = ErrorBody(error=error.message, error_code=error.code, retryable=error.retryable)
        if isinstance(error, InvalidRequest):
            body = body.model_copy(update={"field": error.field, "given": error.given, "allowed": error.allowed})
        if isinstance(error, DoesNotFit):
            body = body.model_copy(update={"nearest": [Dimensions.model_validate(each) for each in error.nearest]})
        return error_response(request, status, body, _retry_headers(error))

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        error = explain_path(request, error)
        return error_response(request, error.status_code, error_body(error), error.headers)

    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        field = next(part for part in reversed(problem["loc"]) if isinstance(part, str))
        return await video_error(request, InvalidRequest(field, problem["input"], _in_words(problem["msg"])))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("unexpected error", exc_info=error)
        body = ErrorBody(error="the server met an error of its own", error_code="internal_error")
        # Starlette sends this answer outside of all middleware, so the headers are added here.
        return error_response(request, 500, body, dict(SECURITY_HEADERS))

    handlers: list[tuple[type[Exception], Callable[..., Awaitable[JSONResponse]]]] = [
        (VideoError, video_error),
        (HTTPException, http_error),
        (RequestValidationError, validation_error),
        (Exception, unexpected),
    ]
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def _in_words(message: str) -> str:
    """Turn pydantic's message about a query parameter into a description of the allowed values."""
    message = message.removeprefix("Input should be ")
    return message.replace("String should match pattern", "text like").replace("String should have", "text of")


def _retry_headers(error: VideoError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s or RETRY_AFTER_S)} if isinstance(error, QueueFull) else {}


def name_fields(request: Request, names: Mapping[str, str]) -> None:
    """Make the errors of this request use the client's names for our fields."""
    request.state.field_names = names


def error_response(
    request: Request, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the answer with this body, in the error format of the request's path."""
    headers, path = dict(headers or {}), request.scope["path"]
    if is_ltx_path(path):
        status, shaped = ltx_error(status, body)
    elif path.startswith(PATHS):
        shaped = openai_error(status, body, getattr(request.state, "field_names", {}))
    else:
        shaped = body.model_dump()
    if status == 503:  # noqa: PLR2004
        headers.setdefault("Retry-After", RETRY_AFTER_S)
    return JSONResponse(shaped, status, headers)


NO_ROUTE = "Not Found"
"""Starlette's own message for a path without a route."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
MAX_SHOWN_CHARS = 64


def explain_path(request: Request, error: HTTPException) -> HTTPException:
    """Return the error with a more helpful message if it is the router's own, otherwise unchanged."""
    path = repr(str(request.scope["path"])[:MAX_SHOWN_CHARS])
    if error.detail == NO_ROUTE:
        return HTTPException(404, f"there is nothing at {path}; /docs has every path")
    if error.status_code == 405:  # noqa: PLR2004
        taken = ", ".join(_methods_of(request))
        return HTTPException(405, f"{path} supports {taken}, not {request.method}", {"Allow": taken})
    return error


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of the path. The router itself names only those of the first route."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    routes = request.app.routes
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
