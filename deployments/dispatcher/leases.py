"""Names of Dispatcher processes, and the timing of their leases.

A name contains host, boot, process id and start time. So a restarted Dispatcher on the same host knows at once which
tasks its predecessor left, and does not wait for their leases to lapse.
"""

import functools
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
START_TOLERANCE_S = 5.0
"""The start time of a process is computed from the boot time, which shifts when the clock is set."""


@dataclass(frozen=True)
class DispatcherId:
    """Identifies one Dispatcher process among all that have run. `started_at` is in seconds since the epoch."""

    host: str
    boot: str
    pid: int
    started_at: float

    @classmethod
    def current(cls) -> "DispatcherId":
        """The id of the current process."""
        return cls(socket.gethostname(), _read_boot_id(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def parse(cls, text: str) -> "DispatcherId":
        """Parse the text that `str` returned. Raises ValueError for a text of another format."""
        host, boot, pid, started_at = text.rsplit("/", 3)
        return cls(host, boot, int(pid), float(started_at))

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.pid}/{self.started_at:.2f}"

    def is_dead(self, *, one_host: bool) -> bool:
        """Whether the process is known to be gone.

        With `one_host` (SQLite), a process of another host or boot also counts as gone.
        """
        if (self.host, self.boot) != (socket.gethostname(), _read_boot_id()):
            return one_host
        try:
            started_at = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        return abs(started_at - self.started_at) > START_TOLERANCE_S


@functools.cache
def _read_boot_id() -> str:
    """The boot id and the PID namespace, which also distinguishes containers with the same hostname on one host."""
    try:
        return f"{BOOT_ID.read_text().strip()}:{PID_NAMESPACE.readlink()}"
    except OSError:
        return f"{psutil.boot_time():.0f}"


class LeaseTimer:
    """Decides when to renew leases, and whether lapsed leases of other Dispatchers may be taken over.

    After a gap in its loop (a suspended laptop, a database that was away), a Dispatcher cannot tell whether other
    Dispatchers are dead or were suspended too. It renews its own leases and waits for one lease period.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._renewed_at = time.monotonic()
        self._quiet_until = 0.0

    def should_renew(self) -> bool:
        """Whether a third of the lease period has passed since the last renewal."""
        return time.monotonic() - self._renewed_at > self._lease_s / 3

    def mark_renewed(self) -> None:
        """Record a successful renewal. If it was late, wait for one lease period before the next reclaim."""
        now = time.monotonic()
        if now - self._renewed_at > self._lease_s * 2 / 3:
            self._quiet_until = now + self._lease_s
        self._renewed_at = now

    def may_reclaim(self) -> bool:
        """Whether tasks with lapsed leases may be taken over from other Dispatchers."""
        return time.monotonic() >= self._quiet_until
