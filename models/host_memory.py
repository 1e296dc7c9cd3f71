"""How much host memory may be taken: what the machine has free, and what a container's limit leaves of it."""

from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def free_host_bytes() -> int:
    """Host memory that can be taken without swapping, and without being killed for a container's limit."""
    free: int = psutil.virtual_memory().available
    return min([free, *_left_in_cgroups(CGROUPS, OWN_CGROUP)])


def _left_in_cgroups(root: Path, own: Path) -> list[int]:
    """What each limit over this process leaves (cgroup v2). Files in the page cache do not count as taken."""
    try:
        path = own.read_text().strip().rpartition("::")[2].lstrip("/")
    except OSError:
        return []
    here = root / path
    folders = [here, *here.parents]
    return [left for folder in folders if root in (folder, *folder.parents) and (left := _left(folder)) is not None]


def _left(folder: Path) -> int | None:
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit == "max":
            return None
        taken = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return int(limit) - taken + int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
