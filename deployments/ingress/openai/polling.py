"""The header that tells a client when to poll again. The openai package for Python obeys it."""

from typing import Any

from deployments.ingress.context import AppContext
from deployments.ingress.routes.tasks import estimate_eta_s
from models.errors import StoreUnavailable
from storage.tasks import Task

POLL_HEADER = "openai-poll-after-ms"
POLL_HEADERS: dict[str, Any] = {
    POLL_HEADER: {
        "description": "Milliseconds to wait before the next poll; left out once the video has ended.",
        "schema": {"type": "integer"},
    }
}
MIN_MS, MAX_MS = 500, 5000
UNKNOWN_MS = 1000
"""The openai package's own interval, where nothing is known about the time left."""
FRACTION_LEFT = 0.1
"""Part of the time left after which to poll: few polls at the start, and frequent ones towards the end."""


def poll_after_ms(context: AppContext, task: Task) -> int:
    """Milliseconds until the next poll of a task that has not ended. Blocks on the store."""
    try:
        eta_s = estimate_eta_s(context, task)
    except StoreUnavailable:
        eta_s = None
    return UNKNOWN_MS if eta_s is None else choose_interval_ms(eta_s)


def choose_interval_ms(eta_s: float) -> int:
    """The interval for a task that is expected to end in `eta_s` seconds."""
    return round(min(MAX_MS, max(MIN_MS, eta_s * 1000 * FRACTION_LEFT)))
