"""The route /openapi.json: it adds the server's address and the model's defaults, known only while the server runs.

OpenAPI importers such as Dify and LibreChat reject a document without `servers`.
"""

import copy
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deployments.ingress.context import AppContext


def install_openapi_route(app: FastAPI, context: AppContext) -> None:
    """Replace FastAPI's route by one that reads the store in a thread, not on the event loop."""
    path = app.openapi_url
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != path]

    @app.head(str(path), include_in_schema=False)
    @app.get(str(path), include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        defaults = await context.read_threads.run(context.model_info.defaults)
        described = with_defaults(app.openapi(), defaults)
        return JSONResponse({**described, "servers": [{"url": context.base_url(request)}]})


def with_defaults(described: dict[str, Any], defaults: dict[str, float]) -> dict[str, Any]:
    """Return the same OpenAPI document, with these defaults in every request body."""
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
