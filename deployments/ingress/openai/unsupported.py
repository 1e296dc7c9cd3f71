"""Routes of OpenAI's video API that this server does not support: each answers with the reason.

The answer is a 422, because the openai packages repeat a request that gets a 5xx.
"""

from fastapi import APIRouter, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotSupported
from deployments.ingress.request_body.reading import discard_body

REASONS = {
    "/v1/videos/edits": "this server does not edit uploaded videos here; remix one of yours",
    "/v1/videos/extensions": "this server does not extend videos; create a longer one with `seconds`",
    "/v1/videos/characters": "this server has no characters; describe them in the prompt, or send `input_reference`",
    "/v1/videos/characters/{character_id}": "this server has no characters",
}
METHODS = {"/v1/videos/characters/{character_id}": "GET"}
"""Every other route is a POST."""


def unsupported_router(context: AppContext) -> APIRouter:
    """Create the router. The routes are not in /openapi.json, where tools would offer them."""
    router = APIRouter()
    for path, reason in REASONS.items():
        _add_refusal(router, context, path, reason)
    return router


def _add_refusal(router: APIRouter, context: AppContext, path: str, reason: str) -> None:
    async def refuse(request: Request) -> Response:
        await discard_body(request, context.settings)
        raise NotSupported(reason)

    router.add_api_route(path, refuse, methods=[METHODS.get(path, "POST")], include_in_schema=False)
