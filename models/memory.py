"""Memory that ran out, or is to be given back: on the GPU and in the process. Knows no pipeline."""

import gc
import traceback
from dataclasses import dataclass


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on the GPU, in Python, or in torch's allocator for the CPU (a plain RuntimeError)."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def drop_locals(error: Exception) -> None:
    """Let go of the tensors that an error's frames hold, and of what torch keeps in reserve."""
    traceback.clear_frames(error.__traceback__)
    free_memory()


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


def free_memory() -> None:
    """Collect what nobody holds any more, and give torch's reserve on the GPU back."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
