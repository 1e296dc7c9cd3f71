"""Fits the seconds of finished tasks to their amount of work: a fixed part, and a part proportional to the work.

- The line is a Theil-Sen estimator: the median of the slopes between all pairs of tasks. Each slope is weighted by the
  distance of the two amounts. The reason: two tasks of nearly the same work say little about the slope.
- A measurement of an amount takes precedence over the line.
- Falling medians are pooled (isotonic regression), so more work never takes less time.

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
"""An amount of work and its seconds."""
FAR = 16
"""If all tasks have one amount of work, there is no estimate above this multiple of it."""
OUTLIER = 3
"""A single task more than this factor above or below the line is left out."""
MIN_AMOUNTS = 3
"""The smallest number of different amounts with which a task can be an outlier."""
DEFAULT_FIXED = 0.5
"""The assumed fixed fraction where all tasks have one amount of work.

The fit up to the last step passes a smaller one as `untold_fixed`.
"""


@dataclass(frozen=True)
class LinearFit:
    """The measured seconds by amount of work.

    `points` has the measured amounts in rising order with their seconds, which never fall. There is no estimate
    for an amount above `most`.
    """

    points: tuple[Point, ...] = ()
    fixed_s: float = 0.0
    s_per_amount: float = 0.0
    most: float = math.inf

    def seconds(self, amount: float) -> float | None:
        """The estimated seconds for an amount of work; None without an estimate.

        Never negative, and never less than the estimate for a smaller amount.
        """
        if not self.points:
            return None
        (first, first_s), (last, last_s) = self.points[0], self.points[-1]
        if amount <= first:
            return _between((0.0, self.fixed_s), (first, first_s), amount)
        if amount >= last:
            return None if amount > self.most else last_s + self.s_per_amount * (amount - last)
        after = bisect_left(self.points, (amount, 0.0))
        return _between(self.points[after - 1], self.points[after], amount)


NO_FIT = LinearFit()
"""The fit when no task has ended yet."""


def fit_line(points: Sequence[Point], *, untold_fixed: float = DEFAULT_FIXED) -> LinearFit:
    """Fit measured tasks.

    `untold_fixed` is the fixed fraction to assume where all tasks have one amount of work. If the fitted slope is 0, it
    also sets the slope beyond the largest amount.
    """
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
    """The median of the slopes between all pairs, each weighted by the distance of the two amounts."""
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
    """Whether to keep an amount: several tasks measured it, or its one task is near the line."""
    if len(taken) > 1 or amounts < MIN_AMOUNTS:
        return True
    return line_s / OUTLIER <= taken[0] <= line_s * OUTLIER


def _pool(measured: Iterable[tuple[float, float, int]]) -> tuple[Point, ...]:
    """Make the seconds never fall with the amount: neighbors that fall get their weighted mean."""
    pools: list[tuple[float, int, list[float]]] = []
    for amount, seconds, count in measured:
        mean_s, weight, amounts = seconds, count, [amount]
        while pools and pools[-1][0] >= mean_s:
            before_s, before_weight, before = pools.pop()
            mean_s = (before_s * before_weight + mean_s * weight) / (before_weight + weight)
            weight, amounts = before_weight + weight, before + amounts
        pools.append((mean_s, weight, amounts))
    return tuple((amount, mean_s) for mean_s, _, amounts in pools for amount in amounts)
