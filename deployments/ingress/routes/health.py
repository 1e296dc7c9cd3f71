"""The /health route: reports whether the server works, and the state of its model."""

from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from deployments.ingress.context import AppContext
from models.errors import StoreUnavailable
from storage.tasks import GeneratorReplica, ReplicaState

PACKAGES = ("ray", "diffusers", "torch", "av")


class ModelHealth(BaseModel):
    """What the model is doing."""

    name: str
    state: ReplicaState
    message: str | None = None
    replicas: int
    bytes_done: int | None = None
    bytes_total: int | None = None


class Health(BaseModel):
    """The answer of /health."""

    status: str
    reason: str | None = None
    model: ModelHealth | None = None
    queue: dict[str, int] | None = None
    paused_at: Annotated[
        float | None,
        Field(description="When an operator paused the start of tasks; null if not paused. Tasks are still accepted."),
    ] = None
    enhances_prompts: Annotated[
        bool, Field(description="Whether a language model can rewrite prompts: `enhance_prompt`, /v1/video/enhance.")
    ]
    upscales: Annotated[
        bool | None,
        Field(description="Whether the model renders in two stages: `upscale`. Left out until that is known."),
    ] = None
    keys_required: Annotated[bool, Field(description="Whether the other routes require an API key.")]
    notices: list[str] = []
    versions: dict[str, str]


def health_router(context: AppContext) -> APIRouter:
    """Create the router of /health."""
    router = APIRouter(tags=["health"])
    versions = {name: version(name) for name in PACKAGES} | {"ltx2-server": version("ltx2-server")}
    keys_required = bool(context.settings.api_keys)

    @router.head("/health", include_in_schema=False)
    @router.get("/health", summary="Health", response_model=Health, responses={503: {"model": Health}})
    async def get_health() -> JSONResponse:
        """200 while the server can accept tasks and store and serve videos; 503 with the reason otherwise."""
        notices = [*context.notices, *context.dynamic_notices(), *context.missing_files.notices()]
        same: dict[str, Any] = {
            "enhances_prompts": context.settings.enhance.is_configured,
            "keys_required": keys_required,
            "notices": notices,
            "versions": versions,
        }
        try:
            found = await context.health_threads.run(_look, context)
        except StoreUnavailable as error:
            down = Health(status="unavailable", reason=error.message, **same)
            return JSONResponse(down.model_dump(mode="json", exclude_none=True), 503, {"Retry-After": "5"})
        up = Health(status="ok", **found, **same)
        return JSONResponse(up.model_dump(mode="json", exclude_none=True))

    return router


def _look(context: AppContext) -> dict[str, Any]:
    """Query both stores. Raises StoreUnavailable if one of them does not answer."""
    replicas = [each for each in context.tasks.live_replicas() if each.model == context.model]
    queue = {state.value: count for state, count in context.tasks.counts().items()}
    paused_at = context.tasks.paused_at()
    context.outputs.check_health()
    return {
        "model": model_health(context.model, replicas),
        "queue": queue,
        "paused_at": paused_at,
        "upscales": context.model_info.can_upscale(),
    }


READINESS = (
    ReplicaState.READY,
    ReplicaState.SLEEPING,
    ReplicaState.LOADING,
    ReplicaState.DOWNLOADING,
    ReplicaState.FAILED,
    ReplicaState.UNLOADED,
)
"""Replica states, the nearest to readiness first. /health shows the replica with the first of these states."""


def model_health(name: str, replicas: list[GeneratorReplica]) -> ModelHealth:
    """Summarize the live Generators as one model state."""
    if not replicas:
        return ModelHealth(name=name, state=ReplicaState.UNLOADED, replicas=0)
    best = min(replicas, key=lambda each: READINESS.index(each.state))
    return ModelHealth(
        name=name,
        state=best.state,
        message=best.message or None,
        replicas=len(replicas),
        bytes_done=best.bytes_done or None,
        bytes_total=best.bytes_total or None,
    )
