"""Who holds a task: a dispatcher's name says on which host and in which process it lives.

So a restart on the same host knows at once what its predecessor left behind, and need not wait for a lease to end.
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
"""The start of a process is counted from the boot, whose own time shifts when the clock is set."""


@dataclass(frozen=True)
class DispatcherId:
    """One dispatcher process, told from all that were before it."""

    host: str
    boot: str
    pid: int
    started_at: float

    @classmethod
    def current(cls) -> "DispatcherId":
        """The name of the process that asks."""
        return cls(socket.gethostname(), _read_boot_id(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def parse(cls, text: str) -> "DispatcherId":
        """Read what `str` wrote."""
        host, boot, pid, started_at = text.rsplit("/", 3)
        return cls(host, boot, int(pid), float(started_at))

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.pid}/{self.started_at:.2f}"

    def is_dead(self, *, one_host: bool) -> bool:
        """Whether the process is known to be gone. With `one_host`, a name of another host or boot is, too."""
        if (self.host, self.boot) != (socket.gethostname(), _read_boot_id()):
            return one_host
        try:
            started_at = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        return abs(started_at - self.started_at) > START_TOLERANCE_S


@functools.cache
def _read_boot_id() -> str:
    """The boot of this host, and the process numbers' own space: containers of one host and name are told apart."""
    try:
        return f"{BOOT_ID.read_text().strip()}:{PID_NAMESPACE.readlink()}"
    except OSError:
        return f"{psutil.boot_time():.0f}"


class LeaseTimer:
    """Says when to renew, and whether it is safe to take over what others let lapse.

    After a gap in its own loop (a suspended laptop, a database that was away) a dispatcher cannot know whose lease
    lapsed only because everybody was asleep: it renews its own and waits one lease.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._renewed_at = time.monotonic()
        self._quiet_until = 0.0

    def should_renew(self) -> bool:
        """Whether a third of the lease has gone by."""
        return time.monotonic() - self._renewed_at > self._lease_s / 3

    def mark_renewed(self) -> None:
        """Note a renewal that went through, and how late it was."""
        now = time.monotonic()
        if now - self._renewed_at > self._lease_s * 2 / 3:
            self._quiet_until = now + self._lease_s
        self._renewed_at = now

    def may_reclaim(self) -> bool:
        """Whether lapsed leases of others may be believed."""
        return time.monotonic() >= self._quiet_until
