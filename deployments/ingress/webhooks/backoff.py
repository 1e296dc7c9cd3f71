"""When a delivery is tried again, and when it is given up."""

from collections.abc import Callable

MINUTE_S = 60.0
HOUR_S = 3600.0
BACKOFFS_S = (5.0, 5 * MINUTE_S, 30 * MINUTE_S, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 10 * HOUR_S)
"""The waits after each try that failed, as Standard Webhooks 1.0 proposes, up to a good day: 27 h 35 min."""
JITTER = 0.2
"""By up to this part a wait is longer, so that what failed together does not come back together."""


def backoff_s(attempt: int, draw: Callable[[], float]) -> float | None:
    """How long to wait after the failed try number `attempt`; None after the last. `draw` gives 0 to 1."""
    if attempt > len(BACKOFFS_S):
        return None
    return BACKOFFS_S[attempt - 1] * (1 + JITTER * draw())
