"""Wait times between the attempts of a delivery, and the number of attempts."""

from collections.abc import Callable

MINUTE_S = 60.0
HOUR_S = 3600.0
BACKOFFS_S = (5.0, 5 * MINUTE_S, 30 * MINUTE_S, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 10 * HOUR_S)
"""The wait after each failed attempt, as Standard Webhooks 1.0 proposes. The sum is 27 h 35 min."""
JITTER = 0.2
"""Each wait is longer by a random fraction up to this one.

So deliveries that fail together are not retried together.
"""


def backoff_s(attempt: int, draw: Callable[[], float]) -> float | None:
    """Seconds to wait after failed attempt number `attempt`; None after the last. `draw` returns 0 to 1."""
    if attempt > len(BACKOFFS_S):
        return None
    return BACKOFFS_S[attempt - 1] * (1 + JITTER * draw())
