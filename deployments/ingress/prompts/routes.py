"""The route that rewrites a prompt, and the same for a submit that asks for it."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotSupported
from deployments.ingress.images.given import fit_images
from deployments.ingress.images.shrinking import shrink_to_jpeg
from deployments.ingress.prompts.enhancer import NOT_CONFIGURED, SeenImage
from deployments.ingress.request_body.image_fields import images_body
from deployments.ingress.request_body.reading import read_images
from deployments.ingress.schemas import errors
from models.errors import EnhancementFailed
from models.request.adjustments import Adjustment, enhanced_prompt, failed_enhancement
from models.request.json_schema import request_schema
from models.request.request import VideoRequest, parse_request
from storage.inputs import InputImage

REFUSALS = errors(408, 413, 422, 429, 503)
ENHANCE_PROMPT = "enhance_prompt"
"""The field of a submit that asks for another prompt."""
MAX_SIDE_PX = 896
"""The longest side of an image that the language model sees: what Gemma 3 looks at."""


JPEG_QUALITY = 85


class EnhancedPrompt(BaseModel):
    """The answer of the route."""

    prompt: Annotated[str, Field(description="The prompt that you sent.")]
    enhanced_prompt: Annotated[str, Field(description="The prompt as the language model wrote it.")]


def prompts_router(context: AppContext) -> APIRouter:
    """Create the router of the enhance route."""
    router = APIRouter(tags=["video"])
    content = images_body(request_schema(context.settings.limits), "An image, as in a submit.")
    body = {"requestBody": {"required": True, "content": content}}

    @router.post("/v1/video/enhance", summary="Enhance a prompt", responses=REFUSALS, openapi_extra=body)
    async def enhance_prompt(request: Request) -> EnhancedPrompt:
        """Takes the body of a submit and rewrites its prompt. Creates no task."""
        with upload_slot(context.uploads, request):
            fields, given = await read_images(request, context.settings)
            if not context.settings.enhance.is_configured:
                raise NotSupported(NOT_CONFIGURED)
            asked = parse_request(fields, context.settings.limits)
            fitted = await fit_images(context.image_threads, given, asked, context.settings.limits)
            text = await enhance(context, asked, fitted.images)
        return EnhancedPrompt(prompt=asked.prompt, enhanced_prompt=text)

    return router


async def enhance_or_keep(context: AppContext, asked: VideoRequest, images: Sequence[InputImage]) -> Adjustment:
    """Rewrite the prompt of a submit, or say why it stays as it is. Raises TooManyRequests."""
    try:
        return enhanced_prompt(asked.prompt, await enhance(context, asked, images))
    except EnhancementFailed as error:
        return failed_enhancement(error.message)


async def enhance(context: AppContext, request: VideoRequest, images: Sequence[InputImage]) -> str:
    """Rewrite a prompt. Raises EnhancementFailed, TooManyRequests."""
    with context.enhancements.acquire():
        seen = [SeenImage(await _shrink(context, each.content), each.place.frame) for each in images]
        return await context.enhancer.enhance(request, seen)


async def _shrink(context: AppContext, image: bytes) -> bytes:
    return await context.image_threads.run(shrink_to_jpeg, image, MAX_SIDE_PX, quality=JPEG_QUALITY)
