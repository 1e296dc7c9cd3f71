"""Checks that Ray's object store has room for the clips between a Generator and an Encoder.

The Generator renders one clip while the Encoder encodes the one before, so two of the largest clips must fit. Otherwise
Ray spills them to disk, which is slower. The server starts anyway.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from deployments.cluster.single_node import Node, can_host_replicas
from models.clip import largest_clip_bytes
from models.request.request import RequestLimits

CLIPS = 2
GB = 1e9
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray keeps the store on Linux


def check_shared_memory(limits: RequestLimits, nodes: Iterable[Node]) -> list[str]:
    """One sentence for each store that is too small. `nodes` is the result of `ray.nodes()`."""
    needed = CLIPS * largest_clip_bytes(limits)
    stores = [each["Resources"].get("object_store_memory", 0.0) for each in nodes if can_host_replicas(each)]
    short = [_short_store(needed, min(stores))] if stores and min(stores) < needed else []
    shared = _size_bytes(SHARED_MEMORY)
    return short if shared is None or shared >= needed else [*short, _short_shared_memory(needed, shared)]


def _size_bytes(folder: Path) -> int | None:
    """The size of the file system at `folder`. None when the folder does not exist, as on macOS."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return None
    return found.f_frsize * found.f_blocks


def _short_store(needed_bytes: float, store_bytes: float) -> str:
    return (
        f"Ray's object store has {store_bytes / GB:.1f} GB on a node, and two of the largest clips that limits allow "
        f"take {needed_bytes / GB:.1f} GB: Ray spills to disk. Start Ray with more object_store_memory (`ray start "
        "--object-store-memory`, RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION), or lower limits.max_total_pixels"
    )


def _short_shared_memory(needed_bytes: float, shared_bytes: float) -> str:
    return (
        f"{SHARED_MEMORY} has {shared_bytes / GB:.2f} GB, and two of the largest clips that limits allow take "
        f"{needed_bytes / GB:.1f} GB: Ray spills to disk. Give the container more (docker run --shm-size 8g, "
        "shm_size in compose), or lower limits.max_total_pixels"
    )
