"""Variables of glibc with which a process keeps the memory of freed tensors. It reads them when it starts.

Without them a thread that renders on a CPU gives the memory of a large tensor back and gets it again, as pages that the
kernel must fill with zeros: `python -m benchmarks.freed_memory`. Other C libraries ignore them.
"""

KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",  # a thread's own arena has heaps of 64 MB and gives them back whatever the thresholds are
    "MALLOC_MMAP_THRESHOLD_": str(1024**3),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
