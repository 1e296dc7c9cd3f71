"""How much host memory may be taken: what the machine has free, and what a container's limit leaves of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Limit:
    """What a group that this process is in may take in all, and what is left of it."""

    all_bytes: int
    left_bytes: int


@dataclass(frozen=True)
class CgroupFiles:
    """The files of a limit, and what its statistics call the page cache."""

    limit: str
    taken: str
    cached: tuple[str, str]


V1 = CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = CgroupFiles("memory.max", "memory.current", ("inactive_file", "active_file"))
MEMORY = "memory"
"""The controller of version 1, and the folder that it is mounted under."""
NO_LIMIT = "max"
RESERVED_BYTES = 8 * 10**9
"""Host memory that is left for clips, the page cache and everybody else, at least."""
RESERVED_FRACTION = 0.08
"""And at least so much of all of it: Ray ends processes of a node of which 95 % is taken (2.60, its default)."""


def free_host_bytes() -> int:
    """Host memory that can be taken without swapping, and without being killed for a container's limit."""
    free: int = psutil.virtual_memory().available
    return min([free, *_left_in_cgroups(CGROUPS, OWN_CGROUP)])


def all_host_bytes() -> int:
    """All the memory of this machine, or as much as a container on it may have. Ray counts alike."""
    total: int = psutil.virtual_memory().total
    return min([total, *(limit.all_bytes for limit in _limits(CGROUPS, OWN_CGROUP))])


def reserved_bytes(all_bytes: int) -> int:
    """What stays free of `all_bytes` of memory."""
    return max(RESERVED_BYTES, int(all_bytes * RESERVED_FRACTION))


def max_pinned_bytes() -> int:
    """What may be taken for good, as pinned memory is: the kernel cannot take it back."""
    return max(0, free_host_bytes() - reserved_bytes(all_host_bytes()))


def pinned_bytes(sizes: Iterable[int]) -> int:
    """What tensors of these bytes take in pinned memory: torch gives each a block whose size is a power of two."""
    return sum(1 << (size - 1).bit_length() for size in sizes if size)


def _left_in_cgroups(root: Path, own: Path) -> list[int]:
    """What each limit over this process leaves. Files in the page cache do not count as taken."""
    return [limit.left_bytes for limit in _limits(root, own)]


def _limits(root: Path, own: Path) -> list[Limit]:
    """Each limit over this process."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = [(top, top / path, names) for line in lines for top, path, names in _place(root, line)]
    return [
        limit
        for top, here, names in found
        for folder in (here, *here.parents)
        if top in (folder, *folder.parents) and (limit := _limit(folder, names)) is not None
    ]


def _place(root: Path, line: str) -> Iterator[tuple[Path, str, CgroupFiles]]:
    """Where the limits stand that a line of `/proc/self/cgroup` (number:controllers:path) speaks of."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if not controllers:
        yield root, path.lstrip("/"), V2
    elif MEMORY in controllers.split(","):
        yield root / MEMORY, path.lstrip("/"), V1


def _limit(folder: Path, names: CgroupFiles) -> Limit | None:
    try:
        limit = (folder / names.limit).read_text().strip()
        if limit == NO_LIMIT:
            return None
        taken = int((folder / names.taken).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    cached = sum(int(stat.get(name, 0)) for name in names.cached)
    return Limit(int(limit), int(limit) - taken + cached)
