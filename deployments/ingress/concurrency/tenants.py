"""The owner of the current request, and the part of each limit that one owner may use.

One rule applies to all limits (threads, open requests, uploads, waiting requests, event streams). With several API
keys, each owner may use `ingress.max_fraction_per_key` of the limit, and at least 1. With one key or none, owners are
not distinguished and the whole limit applies.
"""

from contextvars import ContextVar

from deployments.settings import Settings
from storage.tasks import ANONYMOUS

current_owner: ContextVar[str] = ContextVar("owner", default=ANONYMOUS)
"""Owner of the request's API key. The API-key middleware sets it for everything that runs for the request."""


def limit_per_owner(settings: Settings, bound: int) -> int:
    """Return the part of `bound` that one owner may use."""
    if len(settings.quotas) <= 1:
        return bound
    return max(1, int(bound * settings.ingress.max_fraction_per_key))
