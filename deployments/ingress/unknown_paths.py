"""What a request is told whose path, or whose method for it, there is not."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import Match

NO_ROUTE = "Not Found"
"""Starlette's own words for a path without a route."""
METHODS = ("GET", "HEAD", "POST", "DELETE")
MAX_SHOWN_CHARS = 64


def explain_path(request: Request, error: HTTPException) -> HTTPException:
    """The same error in words that help, where it is the router's own."""
    path = repr(str(request.scope["path"])[:MAX_SHOWN_CHARS])
    if error.detail == NO_ROUTE:
        return HTTPException(404, f"there is nothing at {path}; /docs has every path")
    if error.status_code == 405:  # noqa: PLR2004
        taken = ", ".join(_methods_of(request))
        return HTTPException(405, f"{path} takes {taken}; {request.method} was given", {"Allow": taken})
    return error


def _methods_of(request: Request) -> list[str]:
    """What all routes of the path take together. The router itself names those of the first alone."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    routes = request.app.routes
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
