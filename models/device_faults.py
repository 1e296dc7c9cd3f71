"""Tells a GPU that has failed for good from a render that has. Knows no torch: the errors are known by what they say.

After some CUDA errors every later call in the same process fails with the same error, also those of other tasks;
only the end of the process gives the GPU back.
"""

ACCELERATOR_ERROR = "AcceleratorError"
"""torch's class for an error that the driver reported."""
PASSING = ("out of memory", "no kernel image is available", "invalid device function", "invalid argument")
"""CUDA errors of one call, after which the next one works."""
LASTING = (
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


def broken_device(error: BaseException) -> str | None:
    """What broke the GPU's context for good, from `error` or one that it came from; None if nothing did."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if _breaks(cause):
            return str(cause).splitlines()[0]
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _breaks(error: BaseException) -> bool:
    said = str(error).lower()
    if not isinstance(error, RuntimeError) or not said or any(words in said for words in PASSING):
        return False
    if type(error).__name__ == ACCELERATOR_ERROR:
        return True
    return "cuda error" in said and any(words in said for words in LASTING)
