"""Endpoints of the hosted LTX API that this server does not have yet: each answers with the reason.

The answer is a 400: clients repeat a 5xx, and show a 404 as a wrong address and a 422 as the content filter.
"""

from fastapi import APIRouter, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotSupported
from deployments.ingress.ltx_api.schemas import ENDPOINTS, V2_ONLY
from deployments.ingress.request_body.reading import discard_body


def unsupported_router(context: AppContext) -> APIRouter:
    """Create the router. The routes are not in /openapi.json, where tools would offer them."""
    router = APIRouter()
    for name in V2_ONLY:
        _add_refusal(router, context, f"/v2/{name}", name)
    return router


def _add_refusal(router: APIRouter, context: AppContext, path: str, name: str) -> None:
    async def refuse(request: Request) -> Response:
        await discard_body(request, context.settings)
        raise NotSupported(f"this server does not have {name}; it has {', '.join(ENDPOINTS)}")

    router.add_api_route(path, refuse, methods=["POST"], include_in_schema=False)
