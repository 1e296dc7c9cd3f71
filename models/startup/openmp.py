"""How torch's CPU threads wait for each other: a short spin, then sleep.

OpenMP reads the variables when torch is first imported.
"""

import os

WAITING = {
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "2000",  # of libgomp, which torch's wheels for Linux use
}
"""Variables of OpenMP.

A thread that sleeps at once must be woken for each of the many small operations of a small video. A thread that spins
for long takes the processor from the Encoder and the HTTP processes. `python -m benchmarks.openmp` measures both.
"""


def set_waiting() -> None:
    """Set WAITING for this process, unless the user has set one of its variables."""
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)
