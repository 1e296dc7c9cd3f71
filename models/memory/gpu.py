"""Detects out-of-memory and fatal CUDA errors, and frees memory of the GPU and the process. Uses no pipeline."""

import gc
import sys
import traceback
from dataclasses import dataclass

OUT_OF_MEMORY = ("allocate memory", "out of memory", "alloc_failed")
"""Parts of the messages of plain RuntimeErrors: torch's CPU allocator, CUDA calls (stream, pinned memory), cuBLAS and
cuDNN."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on the GPU, in Python, or in torch's CPU allocator."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def clear_traceback_frames(error: Exception) -> None:
    """Release the tensors that the frames of an error hold, and torch's cached GPU memory."""
    traceback.clear_frames(error.__traceback__)
    collect_and_empty_cache()


@dataclass(frozen=True)
class GpuMemory:
    """The GPU's total memory, and the peak that torch's tensors used."""

    total_bytes: int
    peak_bytes: int


def read_gpu_memory() -> GpuMemory:
    """Read the GPU's memory and reset the peak. Zeros if there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return GpuMemory(0, 0)
    peak_bytes = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return GpuMemory(int(torch.cuda.get_device_properties(0).total_memory), peak_bytes)


def collect_and_empty_cache() -> None:
    """Collect garbage, and release torch's cached GPU memory."""
    gc.collect()
    empty_cuda_cache()


def empty_cuda_cache() -> None:
    """Release torch's cached GPU memory, which no tensor uses. Runs no garbage collection: that takes 0.25 s."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_pinned_memory() -> None:
    """Release the pinned host memory that torch caches. No other process can use cached memory."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch._C._host_emptyCache()  # noqa: SLF001  # torch 2.11 lacks torch.accelerator.empty_host_cache


def kept_pinned_bytes() -> int:
    """Pinned host memory that torch caches and no tensor uses, in bytes."""
    import torch

    if not torch.cuda.is_available():
        return 0
    stats = torch.cuda.host_memory_stats()
    return int(stats.get("allocated_bytes.current", 0) - stats.get("active_bytes.current", 0))


ACCELERATOR_ERROR = "AcceleratorError"
"""torch's class for an error that the driver reported."""
TRANSIENT = ("out of memory", "no kernel image is available", "invalid device function", "invalid argument")
"""CUDA errors of a single call; the next call works."""
FATAL = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "misaligned address",
    "illegal instruction",
    "invalid program counter",
    "hardware stack error",
    "address space",
    "uncorrectable",
    "device is lost",
    "unknown error",
)
"""CUDA's messages for a broken context."""


def find_fatal_error(error: BaseException) -> str | None:
    """The fatal error behind `error`, from its message or by asking the GPU. None if the GPU still works."""
    return fatal_message(error) or probe_device()


def probe_device() -> str | None:
    """The GPU's error at a synchronization, if it is fatal; otherwise None.

    Waits for the GPU's pending work. CUDA reports a failed kernel late, at whichever call comes next.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
    except Exception as error:
        return fatal_message(error)
    return None


def fatal_message(error: BaseException) -> str | None:
    """The message of the fatal CUDA error in `error` or its causes. None if there is none."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if _is_fatal(cause):
            return str(cause).splitlines()[0]
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _is_fatal(error: BaseException) -> bool:
    said = str(error).lower()
    if not isinstance(error, RuntimeError) or not said or any(words in said for words in TRANSIENT):
        return False
    if type(error).__name__ == ACCELERATOR_ERROR:
        return True
    return "cuda error" in said and any(words in said for words in FATAL)
