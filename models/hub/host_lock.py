"""A host-wide lock around "measure free memory, then allocate". Does not import torch.

Replicas on one host enter sleep mode in the same minute, and load together after a scale-up. Without the lock each
would measure the same free memory before another one has allocated its part.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

# shared by all processes of the host, and not on a disk
LOCK_FILE = Path("/dev/shm/ltx2-host-memory.lock")  # noqa: S108
MAX_WAIT_S = 10.0
"""Maximum wait for a holder that was stopped (SIGSTOP, a debugger). A holder that died has released the lock."""
POLL_S = 0.005


@contextlib.contextmanager
def host_lock(file: Path = LOCK_FILE, most_wait_s: float = MAX_WAIT_S) -> Iterator[bool]:
    """Hold the lock in this context; yields whether it is held. The caller continues also without it.

    Containers share the lock if they share /dev/shm. Otherwise each of them has its own memory limit.
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
    """Open for reading, which every user may. Kernels refuse O_CREAT on another user's file in such a folder."""
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
        with contextlib.suppress(OSError):
            descriptor = os.open(file, flags | os.O_CLOEXEC, 0o644)
            if flags & os.O_CREAT:
                os.fchmod(descriptor, 0o644)  # independent of the umask
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
