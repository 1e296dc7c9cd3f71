"""Measures how much host memory can be used, from the machine's free memory and the container's limits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Limit:
    """A cgroup's memory limit, and what is left of it, in bytes."""

    all_bytes: int
    left_bytes: int


@dataclass(frozen=True)
class CgroupFiles:
    """The file names of a cgroup version, and the page cache's names in its statistics."""

    limit: str
    taken: str
    cached: tuple[str, str]


V1 = CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = CgroupFiles("memory.max", "memory.current", ("inactive_file", "active_file"))
MEMORY = "memory"
"""The memory controller of cgroup version 1, and the folder that it is mounted under."""
NO_LIMIT = "max"
RESERVED_BYTES = 8 * 10**9
"""Host memory that is always left free for clips, the page cache and other processes."""
RESERVED_FRACTION = 0.08
"""Minimum fraction that is left free. Ray kills processes on a node with 95 % of its memory used (2.60, its default).
"""


def free_host_bytes() -> int:
    """Host memory that can be used without swapping and within the container's limits."""
    free: int = psutil.virtual_memory().available
    return min([free, *_left_in_cgroups(CGROUPS, OWN_CGROUP)])


def all_host_bytes() -> int:
    """The machine's memory, or the container's limit if that is lower. Ray computes the same."""
    total: int = psutil.virtual_memory().total
    return min([total, *(limit.all_bytes for limit in _limits(CGROUPS, OWN_CGROUP))])


def reserved_bytes(all_bytes: int) -> int:
    """How much of `all_bytes` of memory must stay free."""
    return max(RESERVED_BYTES, int(all_bytes * RESERVED_FRACTION))


def max_pinned_bytes() -> int:
    """How much pinned memory may be allocated. The kernel cannot reclaim pinned memory."""
    return max(0, free_host_bytes() - reserved_bytes(all_host_bytes()))


def pinned_bytes(sizes: Iterable[int]) -> int:
    """What tensors of these sizes use as pinned memory: torch rounds each up to a power of two."""
    return sum(1 << (size - 1).bit_length() for size in sizes if size)


def _left_in_cgroups(root: Path, own: Path) -> list[int]:
    """What each limit of this process leaves. Files in the page cache do not count as used."""
    return [limit.left_bytes for limit in _limits(root, own)]


def _limits(root: Path, own: Path) -> list[Limit]:
    """The limits that apply to this process."""
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
    """The cgroup folder that a line of `/proc/self/cgroup` (number:controllers:path) refers to."""
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
