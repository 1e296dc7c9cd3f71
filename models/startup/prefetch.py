"""Reads the weight files into the page cache while Python is still importing. Does not import torch.

Uses plain reads into a small buffer, which every file system speeds up. A hint to the kernel (`posix_fadvise`) would
read only one readahead window. For a file that is cached already, a read costs one copy through the processor's cache.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint.files import INDEX, WEIGHTS, components
from models.checkpoint.files import weight_files as component_files
from models.memory.host import free_host_bytes

STREAMS = 8
"""Ranges that are read at once: one reader does not saturate a fast disk."""
RANGE_BYTES = 256 * 1024 * 1024
BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FileRange:
    """A part of a file that one reader reads from start to end."""

    path: Path
    start: int
    stop: int


def list_weight_files(folder: Path) -> list[Path]:
    """The weight files in a checkpoint's folder that a load reads, the largest first.

    A repository may hold others: a second transformer and a second decoder (LTX-2.5), or duplicate weights. Raises
    OSError and ValueError for an index that cannot be read.
    """
    index = folder / INDEX
    if index.exists():
        used = components(json.loads(index.read_bytes()))
        files = [path for component in used for path in component_files(folder, component)]
    else:
        files = list(folder.glob(f"*/{WEIGHTS}"))
    return sorted(filter(Path.is_file, files), key=lambda path: path.stat().st_size, reverse=True)


def select_weight_files(files: Sequence[Path], room_bytes: int) -> list[Path]:
    """Those of `files` that fit into `room_bytes` together. More would evict the first ones from the page cache."""
    chosen = []
    for path in files:
        size_bytes = path.stat().st_size
        if size_bytes <= room_bytes:
            chosen.append(path)
            room_bytes -= size_bytes
    return chosen


def split_ranges(files: Sequence[Path]) -> Iterator[FileRange]:
    """Split `files` into ranges, so that a single large file keeps all readers busy."""
    for path in files:
        size_bytes = path.stat().st_size
        for start in range(0, size_bytes, RANGE_BYTES):
            yield FileRange(path, start, min(start + RANGE_BYTES, size_bytes))


def prefetch(folder: Path, ended: threading.Event) -> int:
    """Read the weights of `folder` into the page cache. Return the number of bytes read.

    Stops soon after `ended` is set. Raises OSError for a file that cannot be read.
    """
    pieces = list(split_ranges(select_weight_files(list_weight_files(folder), free_host_bytes())))
    with ThreadPoolExecutor(min(STREAMS, len(pieces)) or 1, thread_name_prefix="read-ahead") as pool:
        return sum(pool.map(lambda piece: _read(piece, ended), pieces))


def _read(piece: FileRange, ended: threading.Event) -> int:
    """Read a range and discard the data. Does not hold the GIL while reading. Returns the number of bytes read."""
    buffer = bytearray(BUFFER_BYTES)
    at = piece.start
    descriptor = os.open(piece.path, os.O_RDONLY)
    try:
        while at < piece.stop and not ended.is_set():
            count = os.preadv(descriptor, [memoryview(buffer)[: piece.stop - at]], at)
            if not count:
                break
            at += count
    finally:
        os.close(descriptor)
    return at - piece.start
