"""The state of a video as the tools return it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from deployments.ingress.mcp.tool_schemas import STATUS_OF_STATE
from storage.tasks import State, Task

NEXT_STEPS = {
    "completed": "Give the user video_url unchanged.",
    "failed": "Tell the user why. Correct what error names, then call create_video or edit_video again.",
    "canceled": "Nothing more happens with this video.",
}
STILL_WORKING = "Call wait_for_video again with this video_id."


def status_of(state: State) -> str:
    """The status that clients see."""
    return STATUS_OF_STATE.get(state, state.value)


def video_state(task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a video from its task and the task's poll body. Fields that do not apply are left out."""
    status, rendered = status_of(task.state), task.rendered_request
    expiries = [body[name] for name in ("expires_at", "url_expires_at") if name in body]
    state = {
        "video_id": task.id,
        "status": status,
        "progress": 100 if status == "completed" else percent(task),
        "queue_position": body.get("queue_position"),
        "eta_seconds": body.get("eta_s"),
        "size": f"{rendered.width}x{rendered.height}",
        "seconds": round(body.get("duration_s", rendered.duration_s), 2),
        "seed": task.request.seed,
        "video_url": body.get("url"),
        "poster_url": body.get("poster_url"),
        "expires_at": spell_time(min(expiries)) if expiries else None,
        "adjusted": [_describe(each) for each in body.get("adjusted", [])] or None,
        "error": body.get("error"),
        "next_step": NEXT_STEPS.get(status, STILL_WORKING),
    }
    return {name: value for name, value in state.items() if value is not None}


def percent(task: Task) -> int:
    """How much of a video is made. 100 only once it is completed."""
    return min(99, int(task.progress * 100))


def _describe(adjusted: Mapping[str, Any]) -> str:
    return f"{adjusted['field']}: {adjusted['used']} in place of {adjusted['given']}, because {adjusted['reason']}"


def with_notes(state: dict[str, Any], adjusted: list[str], unknown: list[str]) -> dict[str, Any]:
    """The state with values that were rounded, and arguments that do not exist."""
    told = [*adjusted, *state.get("adjusted", [])]
    return {**state, **({"adjusted": told} if told else {}), **({"ignored": unknown} if unknown else {})}


def spell_time(seconds: float) -> str:
    """Seconds since the epoch as a text, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
