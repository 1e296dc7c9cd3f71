"""A lock of this machine: who looks at free memory and then takes some is alone meanwhile. Knows no torch.

Replicas on one host fall asleep in the same minute, and load together after a scale-up. Each sees the same free memory
unless one of them has taken its part before the next one looks.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = Path("/dev/shm/ltx2-host-memory.lock")  # noqa: S108  # shared by all processes of the host, and by no disk
MAX_WAIT_S = 10.0
"""A holder that was stopped (SIGSTOP, a debugger) does not stop the others for longer. One that died holds nothing."""
POLL_S = 0.005


@contextlib.contextmanager
def host_lock(file: Path = LOCK_FILE, most_wait_s: float = MAX_WAIT_S) -> Iterator[bool]:
    """Hold the lock in this context; yields whether it is held. Without it the work goes on as on a machine of its own.

    Containers share it where they share /dev/shm; elsewhere each of them has a memory limit of its own.
    """
    descriptor = _open(file)
    if descriptor is None:
        yield False
        return
    try:
        yield _take(descriptor, most_wait_s)
    finally:
        os.close(descriptor)


def _open(file: Path) -> int | None:
    """Open for reading, which any user may: kernels refuse O_CREAT on another user's file in such a folder."""
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
        with contextlib.suppress(OSError):
            descriptor = os.open(file, flags | os.O_CLOEXEC, 0o644)
            if flags & os.O_CREAT:
                os.fchmod(descriptor, 0o644)  # whatever the umask says
            return descriptor
    return None


def _take(descriptor: int, most_wait_s: float) -> bool:
    until = time.monotonic() + most_wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
        else:
            return True
