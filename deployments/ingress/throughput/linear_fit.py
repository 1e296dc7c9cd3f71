"""Robust fit of seconds by amount of work from completed tasks: a fixed part plus a part per amount.

The line is the Theil-Sen estimator: the median of the slopes between all pairs. Slopes are weighted by the distance of
the two amounts, because two nearly equal amounts tell little. A measured amount takes precedence over the line. Falling
medians are pooled (isotonic regression), so that more work never takes less time.

P. K. Sen: Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 1968.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

Point = tuple[float, float]
"""An amount of work, and its seconds."""
FAR = 16
"""With only one measured amount, the fit covers at most this multiple of it."""
OUTLIER = 3
"""A single task that is more than this factor above or below the line is an outlier and is left out."""
MIN_AMOUNTS = 3
"""Outliers are only detected with at least this number of different amounts."""
DEFAULT_FIXED = 0.5
"""Fixed fraction of the time if all tasks had the same amount. Denoising passes a smaller one as `untold_fixed`."""


@dataclass(frozen=True)
class LinearFit:
    """Predicts seconds from an amount. `has_data` holds the measured amounts with their seconds, which never fall.

    For amounts above `most` there is no prediction.
    """

    has_data: tuple[Point, ...] = ()
    fixed_s: float = 0.0
    s_per_amount: float = 0.0
    most: float = math.inf

    def seconds(self, amount: float) -> float | None:
        """Predict the seconds. They are never negative and never fall with the amount. Returns None if unknown."""
        if not self.has_data:
            return None
        (first, first_s), (last, last_s) = self.has_data[0], self.has_data[-1]
        if amount <= first:
            return _between((0.0, self.fixed_s), (first, first_s), amount)
        if amount >= last:
            return None if amount > self.most else last_s + self.s_per_amount * (amount - last)
        after = bisect_left(self.has_data, (amount, 0.0))
        return _between(self.has_data[after - 1], self.has_data[after], amount)


NO_FIT = LinearFit()
"""The fit before any task has ended."""


def fit_line(points: Sequence[Point], *, untold_fixed: float = DEFAULT_FIXED) -> LinearFit:
    """Fit a line to the points. `untold_fixed` is the fixed fraction if all points have the same amount."""
    groups = defaultdict[float, list[float]](list)
    for amount, seconds in points:
        groups[amount].append(seconds)
    if not groups:
        return NO_FIT
    if len(groups) == 1:
        ((amount, taken),) = groups.items()
        usual_s = median(taken)
        return LinearFit(((amount, usual_s),), untold_fixed * usual_s, usual_s / amount, FAR * amount)
    slope = max(0.0, _slope(points))
    fixed_s = max(0.0, median(seconds - slope * amount for amount, seconds in points))
    kept = {amount: taken for amount, taken in groups.items() if _fits(taken, fixed_s + slope * amount, len(groups))}
    known = _pool(sorted((amount, median(taken), len(taken)) for amount, taken in (kept or groups).items()))
    (_, first_s), (last, last_s) = known[0], known[-1]
    return LinearFit(known, min(fixed_s, first_s), slope or untold_fixed * last_s / last)


def _between(low: Point, high: Point, amount: float) -> float:
    return low[1] + (high[1] - low[1]) * (amount - low[0]) / (high[0] - low[0])


def _slope(points: Sequence[Point]) -> float:
    """Return the median of the slopes between all pairs, weighted by the distance of their amounts."""
    pairs = combinations(points, 2)
    slopes = sorted(((b[1] - a[1]) / (b[0] - a[0]), abs(b[0] - a[0])) for a, b in pairs if a[0] != b[0])
    half = sum(weight for _, weight in slopes) / 2
    passed = 0.0
    for slope, weight in slopes:
        passed += weight
        if passed >= half:
            return slope
    return 0.0


def _fits(taken: Sequence[float], line_s: float, amounts: int) -> bool:
    """Return True if an amount is kept: several tasks had it, or its only task is near the line."""
    if len(taken) > 1 or amounts < MIN_AMOUNTS:
        return True
    return line_s / OUTLIER <= taken[0] <= line_s * OUTLIER


def _pool(measured: Iterable[tuple[float, float, int]]) -> tuple[Point, ...]:
    """Pool neighboring amounts whose seconds fall, and give them their common mean."""
    pools: list[tuple[float, int, list[float]]] = []
    for amount, seconds, count in measured:
        mean_s, weight, amounts = seconds, count, [amount]
        while pools and pools[-1][0] >= mean_s:
            before_s, before_weight, before = pools.pop()
            mean_s = (before_s * before_weight + mean_s * weight) / (before_weight + weight)
            weight, amounts = before_weight + weight, before + amounts
        pools.append((mean_s, weight, amounts))
    return tuple((amount, mean_s) for mean_s, _, amounts in pools for amount in amounts)
