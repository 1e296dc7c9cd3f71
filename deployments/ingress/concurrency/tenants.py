"""The owner of the current request, and how much of the server one owner may use.

One rule covers all limits: threads, open requests, uploads, waiting requests and event streams. With several owners,
each may use `ingress.max_fraction_per_key` of a limit, but at least 1. Without API keys or with a single one, there is
only one owner, who may use the whole limit.
"""

from contextvars import ContextVar

from deployments.settings import Settings
from storage.tasks import ANONYMOUS

current_owner: ContextVar[str] = ContextVar("owner", default=ANONYMOUS)
"""The owner of the request's API key. ApiKeyMiddleware sets it for all work on the request."""


def limit_per_owner(settings: Settings, bound: int) -> int:
    """Return how much of `bound` one owner may use."""
    if len(settings.quotas) <= 1:
        return bound
    return max(1, int(bound * settings.ingress.max_fraction_per_key))
