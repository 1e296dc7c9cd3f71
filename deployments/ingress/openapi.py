"""/openapi.json with the address of this server, and the defaults of the model, which are known only once it is served.

Importers of OpenAPI, such as Dify and LibreChat, refuse a document without `servers`.
"""

import copy
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deployments.ingress.context import AppContext


def install_openapi_route(app: FastAPI, context: AppContext) -> None:
    """Put a route of our own in the place of FastAPI's, which would ask the store on the event loop."""
    path = app.openapi_url
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != path]

    @app.head(str(path), include_in_schema=False)
    @app.get(str(path), include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        defaults = await context.read_threads.run(context.model_info.defaults)
        described = with_defaults(app.openapi(), defaults)
        return JSONResponse({**described, "servers": [{"url": context.base_url(request)}]})


def with_defaults(described: dict[str, Any], defaults: dict[str, float]) -> dict[str, Any]:
    """The same description, where every body of a request has these defaults."""
    if not defaults:
        return described
    described = copy.deepcopy(described)
    for properties in _bodies(described):
        for name in defaults.keys() & properties.keys():
            properties[name]["default"] = defaults[name]
    return described


def _bodies(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in described["paths"].values():
        for operation in methods.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                yield media["schema"].get("properties", {})
