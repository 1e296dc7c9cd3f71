"""Estimates a request before it runs: whether it fits in GPU memory, how much it needs, and how long it takes.

The submit routes refuse a request that does not fit. The estimate route returns the same result and creates no task.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.images.given import fit_images
from deployments.ingress.media.conversion import estimated_control, estimated_edit, estimated_request, less_context
from deployments.ingress.request_body.given_images import GivenImages
from deployments.ingress.request_body.given_media import MediaUse, take_use
from deployments.ingress.request_body.image_fields import images_body
from deployments.ingress.request_body.media_fields import estimate_fields
from deployments.ingress.request_body.reading import read_images
from deployments.ingress.schemas import Dimensions, errors
from deployments.ingress.webhooks.ssrf import check_webhook
from models.conditions import GivenTokens, tokens_of
from models.memory.estimate import GB, check_fits, estimate_peak, shape_of, suggest_alternatives
from models.names import BUILT_IN_NAMES
from models.request.adjustments import Adjustment, apply_adjustments, find_adjustments, left_out_steps
from models.request.control import find_control, refuse_control
from models.request.edits import Edit
from models.request.json_schema import request_schema
from models.request.loras import KnownLora, check_loras
from models.request.places import Place
from models.request.request import VideoRequest, parse_request

REFUSALS = errors(408, 413, 422, 429, 503)


class Estimate(BaseModel):
    """The answer of the route."""

    fits: Annotated[bool, Field(description="Whether the GPU memory suffices; otherwise a submit gets a 422.")]
    gb: Annotated[
        float | None,
        Field(description="GPU memory in GB beside the model; null if no GPU is used, or if nothing is known."),
    ]
    seconds: Annotated[
        float | None,
        Field(
            description="How long it takes once the model is loaded, from tasks that ended lately; null where "
            "none is like it"
        ),
    ]
    nearest: Annotated[
        list[Dimensions], Field(description="If it does not fit: the nearest sizes and lengths that fit.")
    ]


def adjust_to_model(
    context: AppContext,
    request: VideoRequest,
    places: Sequence[Place],
    *,
    has_audio: bool = False,
    edit: Edit | None = None,
    control_factor: int = 0,
) -> tuple[Adjustment, ...]:
    """Fields of `request` that the served model will override, if the model's profile is known. Blocks on the store.

    `places` are those of the given images, and `edit` is the part of a given video that is made anew. For
    `control_factor` see GivenTokens.

    Raises DoesNotFit if the free memory that the last Generator measured is too small.
    """
    profile, free_bytes = context.model_info.profile(), context.model_info.stored().free_vram_bytes
    adjusted = () if profile is None else find_adjustments(request, profile)
    adjusted = (*adjusted, *left_out_steps(apply_adjustments(request, adjusted), edit))
    if free_bytes is not None:
        rendered = apply_adjustments(request, adjusted)
        if edit is not None:
            rendered = edit.rendered_request(rendered)
        given = tokens_of(places, audio=has_audio, edit=edit, control_factor=control_factor)
        check_fits(rendered, free_bytes, context.settings.limits, given)
    return adjusted


def estimate_router(context: AppContext) -> APIRouter:
    """Create the router of the estimate route."""
    router = APIRouter(tags=["video"])
    limits = context.settings.limits
    schema = request_schema(limits, loras=context.settings.generator.known_loras)
    schema = {**schema, "properties": {**schema["properties"], **estimate_fields(limits)}}
    content = images_body(schema, "An image, as in a submit.")
    body = {"requestBody": {"required": True, "content": content}}

    @router.post("/v1/video/estimate", summary="Estimate", responses=REFUSALS, openapi_extra=body)
    async def estimate_video(request: Request) -> Estimate:
        """Takes the body of a submit, JSON or a form, with the images if there are any. Creates no task.

        For audio and video, `use` says which submit is meant: their files are not read.
        """
        with upload_slot(context.uploads, request):
            return await estimate(context, *await read_images(request, context.settings))

    return router


async def estimate(context: AppContext, fields: Mapping[str, object], given: GivenImages) -> Estimate:
    """Estimate memory and duration. Raises the validation errors of a submit."""
    limits = context.settings.limits
    fields = dict(fields)
    use, own = take_use(fields)
    request = check_webhook(parse_request(fields, limits), context.settings.webhooks)
    known = context.settings.generator.known_loras
    check_loras(request.loras, request.camera_motion, known)
    factor = check_control(request, use, known)
    context.enhancer.check_request(request)
    request = estimated_control(request, factor, limits) if use is MediaUse.CONTROL else request
    fitted = await fit_images(context.image_threads, given, request, limits)
    await context.read_threads.run(context.model_info.check_upscale, request)
    request, edit = fitted.sized(request), None
    if use is not None:
        request = estimated_request(use, own, request, limits)
        edit = estimated_edit(use, own, request, limits)
    tokens = tokens_of(fitted.places, audio=use is MediaUse.A2V, edit=edit, control_factor=factor)
    return await context.read_threads.run(_estimate_edit, context, request, tokens, edit)


def check_control(request: VideoRequest, use: MediaUse | None, known: Mapping[str, KnownLora]) -> int:
    """Check that a request has an IC-LoRA if it has a control video, and else none. All its LoRAs must be known.

    Returns how many times smaller the control video is, and 0 without one. Raises InvalidRequest.
    """
    if use is MediaUse.CONTROL:
        return known[find_control(request, known)].reference_downscale_factor
    refuse_control(request, known)
    return 0


def _estimate_edit(context: AppContext, request: VideoRequest, given: GivenTokens, edit: Edit | None) -> Estimate:
    """Estimate a request with as much context of its edit as fits, as a submit has it. Blocks on the store."""
    while edit is not None:
        estimated = _estimate(context, edit.rendered_request(request), given, edit)
        smaller = None if estimated.fits else less_context(edit, request.num_frames)
        if smaller is None:
            return estimated
        edit = smaller
    return _estimate(context, request, given, edit)


def _estimate(context: AppContext, request: VideoRequest, given: GivenTokens, edit: Edit | None) -> Estimate:
    """Estimate a request of the size that is rendered, and of the steps that are run. Blocks on the store."""
    profile, learned = context.model_info.profile(), context.model_info.stored()
    rendered = request if profile is None else apply_adjustments(request, find_adjustments(request, profile))
    rendered = rendered if edit is None else edit.with_steps_run(rendered)
    free_bytes = learned.free_vram_bytes
    counted = free_bytes is not None or (learned.profile is None and context.model not in BUILT_IN_NAMES)
    limits = context.settings.limits
    nearest = () if free_bytes is None else suggest_alternatives(rendered, free_bytes, limits, given)
    seconds = context.throughput.render_s(rendered)
    return Estimate(
        fits=not nearest,
        gb=round(estimate_peak(rendered, given).bytes / GB, 1) if counted else None,
        seconds=None if seconds is None else round(seconds, 1),
        nearest=[Dimensions.model_validate(shape_of(each)) for each in nearest],
    )
