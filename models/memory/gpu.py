"""Memory that ran out, or is to be given back: on the GPU and in the process. Knows no pipeline."""

import gc
import traceback
from dataclasses import dataclass

OUT_OF_MEMORY = ("allocate memory", "out of memory", "alloc_failed")
"""What plain RuntimeErrors say: torch's allocator for the CPU, CUDA's own calls (a stream, pinned memory), cuBLAS and
cuDNN."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on the GPU, in Python, or in torch's allocator for the CPU."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def clear_traceback_frames(error: Exception) -> None:
    """Let go of the tensors that an error's frames hold, and of what torch keeps in reserve."""
    traceback.clear_frames(error.__traceback__)
    collect_and_empty_cache()


@dataclass(frozen=True)
class GpuMemory:
    """The GPU of this process: all of its memory, and the most that torch's tensors held of it at once."""

    total_bytes: int
    peak_bytes: int


def read_gpu_memory() -> GpuMemory:
    """Look at the GPU, and let the next peak begin now. Zeros where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return GpuMemory(0, 0)
    peak_bytes = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return GpuMemory(int(torch.cuda.get_device_properties(0).total_memory), peak_bytes)


def collect_and_empty_cache() -> None:
    """Collect what nobody holds any more, and give torch's reserve on the GPU back."""
    gc.collect()
    empty_cuda_cache()


def empty_cuda_cache() -> None:
    """Give torch's reserve on the GPU back, which no tensor holds. Collects nothing: that takes 0.25 s."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_pinned_memory() -> None:
    """Give back the pinned host memory that torch keeps for its next use, which nobody else can take."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch._C._host_emptyCache()  # noqa: SLF001  # torch.accelerator.empty_host_cache is not there in 2.11


def kept_pinned_bytes() -> int:
    """Pinned host memory that torch keeps for its next use, though no tensor has it."""
    import torch

    if not torch.cuda.is_available():
        return 0
    stats = torch.cuda.host_memory_stats()
    return int(stats.get("allocated_bytes.current", 0) - stats.get("active_bytes.current", 0))
