"""Start-time fair queueing over the owners of tasks, by the cost of their tasks. No database here.

Start-time fair queueing: each owner scans along a virtual time of its own, by the work of every task that is begun
for it, divided by its weight; the next task is of the owner who is least far. Who comes back after a pause starts
where the others are: nobody saves up virtual_times. One owner alone is served in order of arrival.
P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM 1996.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.memory.estimate import transformer_calls
from models.request.request import VideoRequest

UNIT = 512 * 768 * 121 * 160
"""Pixels x frames x evaluations of the default video: its work is 1."""
DIGITS = 9
"""Virtual times are compared to so many digits: sums of fractions are not exact."""


@dataclass(frozen=True)
class Quota:
    """What an owner may take: its weight against others, and how many of its tasks may run and wait; None is no end."""

    weight: float = 1.0
    max_running: int | None = None
    max_queued: int | None = None


@dataclass(frozen=True)
class VirtualTime:
    """How far an owner is in virtual time: where its last task began, and where its next may begin."""

    start: float = 0.0
    finish: float = 0.0


VirtualTimes = Mapping[str, VirtualTime]


def task_cost(request: VideoRequest, fast_guidance_fraction: float) -> float:
    """How much of a GPU's time a task takes, in default videos. `request` is as it is rendered.

    Guidance counts: with all of it the transformer looks at the video four times a step.
    """
    pixels = request.height * request.width * request.num_rendered_frames
    return pixels * transformer_calls(request, fast_guidance_fraction) / UNIT


def next_start(virtual_times: VirtualTimes, owner: str) -> float:
    """Where the next task of `owner` begins: where its last one ends, and never behind the one that began last."""
    now = max((virtual_time.start for virtual_time in virtual_times.values()), default=0.0)
    return round(max(virtual_times.get(owner, VirtualTime()).finish, now), DIGITS)


def advance(virtual_times: VirtualTimes, owner: str, amount: float, quota: Quota) -> VirtualTime:
    """Return the virtual time of `owner` after a task of this cost."""
    begin = next_start(virtual_times, owner)
    return VirtualTime(begin, begin + amount / quota.weight)


def start_of(virtual_times: VirtualTimes, owner: str, number: int, amount: float, quota: Quota) -> float:
    """Where the n-th waiting task of `owner` begins, if each before it is of so much work."""
    return next_start(virtual_times, owner) + (number - 1) * amount / quota.weight


def tasks_ahead(
    virtual_times: VirtualTimes, owner: str, begin: float, amount: float, quota: Quota, *, ties: bool
) -> int:
    """How many tasks of `owner`, each of so much work, begin before `begin`, with `ties` at it too, if it has them."""
    steps = round((begin - next_start(virtual_times, owner)) * quota.weight / amount, DIGITS)
    return max(0, math.floor(steps) + 1 if ties else math.ceil(steps))


def own_rounds(quota: Quota, processing: int, number: int) -> float:
    """For how many lengths of a task the n-th waiting task of an owner waits for its owner's own, `processing` now.

    `max_running` of them run side by side, so that many end in one length; 0.0 while the owner is not at its bound.
    """
    if quota.max_running is None:
        return 0.0
    return max(0, processing + number - quota.max_running) / quota.max_running
