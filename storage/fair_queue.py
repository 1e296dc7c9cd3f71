"""Start-time fair queueing between owners, by the cost of their tasks. Pure computation, without a database.

Each owner has a virtual time: the cost of its started tasks divided by its weight. The next task comes from the owner
with the smallest virtual time. An owner that returns after a pause starts at the current virtual time, so idle time
gives no advantage later. A single owner is served in order of arrival.
P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM 1996.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.memory.estimate import transformer_calls
from models.request.request import VideoRequest

UNIT = 512 * 768 * 121 * 160
"""Pixels x frames x transformer evaluations of the default video, whose cost is 1."""
DIGITS = 9
"""Virtual times are rounded to this many decimals before they are compared: sums of fractions are not exact."""


@dataclass(frozen=True)
class Quota:
    """The limits of one owner: its weight, and its maximum of running and of queued tasks (None: no limit)."""

    weight: float = 1.0
    max_running: int | None = None
    max_queued: int | None = None


@dataclass(frozen=True)
class VirtualTime:
    """The virtual time of one owner: where its last task started, and where its next one may start."""

    start: float = 0.0
    finish: float = 0.0


VirtualTimes = Mapping[str, VirtualTime]


def task_cost(request: VideoRequest, fast_guidance_fraction: float) -> float:
    """The GPU time of a task, relative to the default video. `request` is the part that is rendered.

    Guidance counts: with all guidance the transformer is evaluated four times per step.
    """
    pixels = request.height * request.width * request.num_rendered_frames
    return pixels * transformer_calls(request, fast_guidance_fraction) / UNIT


def next_start(virtual_times: VirtualTimes, owner: str) -> float:
    """Where the next task of `owner` starts: at the end of its last one, not before the latest start of any owner."""
    now = max((virtual_time.start for virtual_time in virtual_times.values()), default=0.0)
    return round(max(virtual_times.get(owner, VirtualTime()).finish, now), DIGITS)


def advance(virtual_times: VirtualTimes, owner: str, amount: float, quota: Quota) -> VirtualTime:
    """The virtual time of `owner` after it starts a task that costs `amount`."""
    begin = next_start(virtual_times, owner)
    return VirtualTime(begin, begin + amount / quota.weight)


def start_of(virtual_times: VirtualTimes, owner: str, number: int, amount: float, quota: Quota) -> float:
    """Where the waiting task `number` (from 1) of `owner` starts, if each task before it costs `amount`."""
    return next_start(virtual_times, owner) + (number - 1) * amount / quota.weight


def tasks_ahead(
    virtual_times: VirtualTimes, owner: str, begin: float, amount: float, quota: Quota, *, ties: bool
) -> int:
    """How many tasks of `owner`, each of cost `amount`, start before `begin`. `ties` includes a start at `begin`."""
    steps = round((begin - next_start(virtual_times, owner)) * quota.weight / amount, DIGITS)
    return max(0, math.floor(steps) + 1 if ties else math.ceil(steps))


def own_rounds(quota: Quota, processing: int, number: int) -> float:
    """How many task durations the waiting task `number` waits because of its owner's `max_running`.

    `processing` tasks of the owner run now. Up to `max_running` run in parallel, so that many end per duration. Returns
    0.0 while the limit does not delay the task.
    """
    if quota.max_running is None:
        return 0.0
    return max(0, processing + number - quota.max_running) / quota.max_running
