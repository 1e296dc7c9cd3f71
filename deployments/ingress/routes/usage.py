"""The route that reports the usage of the client's API key."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from deployments.ingress.context import AppContext
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.schemas import ErrorBody
from storage.tasks import Usage

SHOWN_DAYS = 92


class DayOfUse(BaseModel):
    """One day of UTC."""

    day: Annotated[str, Field(description="As 2026-11-25.")]
    runs: Annotated[int, Field(description="Number of runs on a GPU. A task that ran twice counts twice.")]
    gpu_s: Annotated[float, Field(description="Seconds that GPUs rendered, without loading the model.")]


class UsageBody(BaseModel):
    """The answer of the route."""

    owner: Annotated[str | None, Field(description="The name of your key; null if the server requires no key.")]
    runs: int
    gpu_s: float
    days: Annotated[list[DayOfUse], Field(description=f"The last {SHOWN_DAYS} with a run, newest first.")]


def usage_router(context: AppContext) -> APIRouter:
    """Create the router of the usage route."""
    router = APIRouter(tags=["tasks"])

    @router.get("/v1/video/usage", summary="What your key has used", responses={503: {"model": ErrorBody}})
    @context.read_threads.offload
    def get_usage(request: Request) -> UsageBody:
        """GPU seconds of all runs, including failed and canceled tasks. Without API keys, the total of all tasks.

        A run counts from its start, also while it is still running. If its process is killed, the last step or the last
        seconds of decoding are not counted.
        """
        owner = request_owner(request)
        return _sum_up(owner, context.tasks.usage(owner))

    return router


def _sum_up(owner: str | None, found: list[Usage]) -> UsageBody:
    days: dict[str, DayOfUse] = {}
    for each in sorted(found, key=lambda usage: usage.day, reverse=True):
        known = days.get(each.day, DayOfUse(day=each.day, runs=0, gpu_s=0.0))
        days[each.day] = DayOfUse(day=each.day, runs=known.runs + each.runs, gpu_s=round(known.gpu_s + each.gpu_s, 3))
    return UsageBody(
        owner=owner,
        runs=sum(each.runs for each in found),
        gpu_s=round(sum(each.gpu_s for each in found), 3),
        days=list(days.values())[:SHOWN_DAYS],
    )
