"""Whose request is served at the moment, and how much of the server one owner may hold.

One rule for everything that is bounded (threads, open requests, uploads, waiting requests, event streams): where there
are several owners, each may hold `ingress.max_fraction_per_key` of the bound, at least 1. Without keys, or with one
alone, nobody is told apart, and the whole bound holds.
"""

from contextvars import ContextVar

from deployments.settings import Settings
from storage.tasks import ANONYMOUS

current_owner: ContextVar[str] = ContextVar("owner", default=ANONYMOUS)
"""The owner of the key that came with the request; set by the door, for all that is done for the request."""


def limit_per_owner(settings: Settings, bound: int) -> int:
    """How much of `bound` one owner may hold."""
    if len(settings.quotas) <= 1:
        return bound
    return max(1, int(bound * settings.ingress.max_fraction_per_key))
