"""Sleep mode: moves the weights to host memory while idle, so that other processes can use the GPU."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from models.errors import ModelUnavailable
from models.hub.host_lock import host_lock
from models.memory import offload
from models.memory.gpu import (
    clear_traceback_frames,
    collect_and_empty_cache,
    free_pinned_memory,
    is_out_of_memory,
    kept_pinned_bytes,
)
from models.memory.host import all_host_bytes, free_host_bytes, pinned_bytes, reserved_bytes
from models.memory.offload_plan import GB, Placement

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class SleepMode:
    """Moves a model's resident weights between `device` and host memory."""

    def __init__(
        self, pipe: Any, placement: Placement, device: str = "cuda", upsampler: "Module | None" = None
    ) -> None:
        self._weights: list[Tensor] = offload.resident_weights(pipe, placement, upsampler)
        self._device = device
        self._gone = 0
        """The number of weights, counted from the first, that are in host memory. A render needs 0."""

    @property
    def asleep(self) -> bool:
        """Whether at least one weight is in host memory, so that no render can run."""
        return self._gone > 0

    @property
    def size_bytes(self) -> int:
        """Size of the weights; 0 if none stay on a GPU."""
        return _size_bytes(self._weights)

    def has_host_memory(self) -> bool:
        """Whether there are weights to move, and host memory for them: free, or still cached from the last sleep."""
        rest = self._weights[self._gone :]
        return bool(rest) and _has_room(rest)

    def sleep(self, wanted: Callable[[], bool]) -> bool:
        """Move the weights to host memory; stops when `wanted()` is true. Returns whether all were moved.

        If other processes take the host memory meanwhile, the moved weights are moved back and their host memory is
        freed. Raises ModelUnavailable if they cannot be moved back.
        """
        from models.memory import transfer

        try:
            for weight in self._weights[self._gone :]:
                if not transfer.to_host([weight], wanted, _allocate):
                    break
                self._gone += 1
        except HostMemoryShortage:
            self.wake_up()
            free_pinned_memory()
        collect_and_empty_cache()
        return self._gone == len(self._weights)

    def wake_up(self) -> None:
        """Move the weights back to the device. Raises ModelUnavailable; they are then where they were."""
        import torch

        from models.memory import transfer

        gone = self._weights[: self._gone]
        try:
            transfer.to_device(gone, torch.device(self._device))
        except Exception as exc:
            said = f"{type(exc).__name__}: {exc}"
            if is_out_of_memory(exc):
                clear_traceback_frames(exc)
                said = f"the GPU has too little free memory for them, another process may use it ({exc})"
            raise ModelUnavailable(
                f"{_size_bytes(gone) / GB:.1f} GB of the model's weights could not be moved back to the GPU: {said}"
            ) from exc
        self._gone = 0


class HostMemoryShortage(Exception):
    """Other processes have taken the host memory that a weight needs."""


def _allocate(weight: "Tensor") -> "Tensor":
    """Allocate host memory for one weight, if there is enough.

    The lock makes other replicas of this host measure only after the allocation.
    """
    from models.memory import transfer

    with host_lock():
        if not _has_room([weight]):
            raise HostMemoryShortage
        return transfer.allocate_host(weight)


def _has_room(weights: "Sequence[Tensor]") -> bool:
    needed = pinned_bytes(weight.nbytes for weight in weights) + reserved_bytes(all_host_bytes())
    return needed <= free_host_bytes() + kept_pinned_bytes()


def _size_bytes(weights: "list[Tensor]") -> int:
    return sum(weight.nbytes for weight in weights)
