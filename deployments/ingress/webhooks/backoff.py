"""Decides when a failed delivery is retried, and when it is given up."""

from collections.abc import Callable

MINUTE_S = 60.0
HOUR_S = 3600.0
BACKOFFS_S = (5.0, 5 * MINUTE_S, 30 * MINUTE_S, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 10 * HOUR_S)
"""Seconds to wait after each failed attempt, as Standard Webhooks 1.0 proposes; 27 h 35 min in total."""
JITTER = 0.2
"""Each wait is extended randomly by up to this fraction, so that deliveries that failed together spread out."""


def backoff_s(attempt: int, draw: Callable[[], float]) -> float | None:
    """Return the seconds to wait after failed attempt `attempt`; None after the last. `draw` returns 0 to 1."""
    if attempt > len(BACKOFFS_S):
        return None
    return BACKOFFS_S[attempt - 1] * (1 + JITTER * draw())
