"""Error messages for requests with an unknown path, or with a method that the path does not accept."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import Match

NO_ROUTE = "Not Found"
"""Starlette's own message for a path without a route."""
METHODS = ("GET", "HEAD", "POST", "DELETE")
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
