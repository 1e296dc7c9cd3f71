"""Detects fatal CUDA errors, from the message or by synchronizing the device.

After some CUDA errors every later call in the same process fails with the same error, also for other tasks. Only the
end of the process frees the GPU. Does not import torch: if no module has imported it, there is no CUDA context.
"""

import sys

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
