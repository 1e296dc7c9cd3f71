"""Error messages for unknown paths, and for methods that a path does not support."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import Match

NO_ROUTE = "Not Found"
"""Starlette's own message for a path without a route."""
METHODS = ("GET", "HEAD", "POST", "DELETE")
MAX_SHOWN_CHARS = 64


def explain_path(request: Request, error: HTTPException) -> HTTPException:
    """Return the same error with a helpful message if Starlette's router raised it; otherwise the error itself."""
    path = repr(str(request.scope["path"])[:MAX_SHOWN_CHARS])
    if error.detail == NO_ROUTE:
        return HTTPException(404, f"there is nothing at {path}; /docs has every path")
    if error.status_code == 405:  # noqa: PLR2004
        taken = ", ".join(_methods_of(request))
        return HTTPException(405, f"{path} supports {taken}, not {request.method}", {"Allow": taken})
    return error


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of the path. Starlette's router only names those of the first route."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    routes = request.app.routes
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
