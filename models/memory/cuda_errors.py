"""Tells a GPU that has failed for good from a render that has: by what its errors say, or else by asking the GPU.

After some CUDA errors every later call in the same process fails with the same error, also those of other tasks;
only the end of the process gives the GPU back. Imports no torch: where nothing has, there is nothing to ask.
"""

import sys

ACCELERATOR_ERROR = "AcceleratorError"
"""torch's class for an error that the driver reported."""
TRANSIENT = ("out of memory", "no kernel image is available", "invalid device function", "invalid argument")
"""CUDA errors of one call, after which the next one works."""
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
"""What CUDA says once a context is broken."""


def find_fatal_error(error: BaseException) -> str | None:
    """What broke the GPU's context for good, now that `error` has ended what was done on it; None if nothing did."""
    return fatal_message(error) or probe_device()


def probe_device() -> str | None:
    """What the GPU of this process answers to the next call, if that is an error after which it is of no more use.

    Waits for what is under way on it. A kernel that failed is heard of late, and by whatever call comes next.
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
    """What broke the GPU's context for good, from `error` or one that it came from; None if nothing did."""
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
