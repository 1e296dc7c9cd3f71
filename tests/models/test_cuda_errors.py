import pytest
import torch

from models.errors import RenderFailed
from models.memory.gpu import fatal_message, find_fatal_error, probe_device

ILLEGAL = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported elsewhere"


def explained(cause: Exception) -> RenderFailed:
    error = RenderFailed("the model failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(ILLEGAL),
        RuntimeError(ILLEGAL),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    ],
)
def test_an_error_that_breaks_the_context_is_known_through_what_explains_it(error: Exception) -> None:
    first_line = str(error).splitlines()[0]
    assert fatal_message(error) == first_line
    assert fatal_message(explained(explained(error))) == first_line


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        ValueError("CUDA error: an illegal memory access was encountered"),
        explained(ValueError("a tensor of the wrong shape")),
    ],
)
def test_an_error_of_one_render_breaks_nothing(error: Exception) -> None:
    assert fatal_message(error) is None


def test_errors_that_explain_each_other_end() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert fatal_message(one) is None


def test_where_no_gpu_is_used_there_is_none_to_ask() -> None:
    assert probe_device() is None
    assert find_fatal_error(RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (torch.AcceleratorError(ILLEGAL), ILLEGAL.splitlines()[0]),
        (torch.AcceleratorError("CUDA error: out of memory"), None),
        (None, None),
    ],
)
def test_an_error_that_does_not_tell_has_the_gpu_asked(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None, fault: str | None
) -> None:
    """cuBLAS reports only that it failed. The next call reports what broke the context."""

    def synchronize() -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert (
        find_fatal_error(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx")) == fault
    )
