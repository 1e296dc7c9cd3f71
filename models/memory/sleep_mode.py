"""The lighter depth of idling: the weights wait in host memory while the GPU is free for others."""

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


class SleepMode:
    """Where a model's resident weights sleep. `device` is where they work."""

    def __init__(self, pipe: Any, placement: Placement, device: str = "cuda") -> None:
        self._weights: list[Tensor] = offload.resident_weights(pipe, placement)
        self._device = device
        self._gone = 0
        """How many of the weights, from the first on, are where no render can use them."""

    @property
    def asleep(self) -> bool:
        """Whether weights are, in part at least, where no render can use them."""
        return self._gone > 0

    @property
    def size_bytes(self) -> int:
        """What the weights occupy; 0 where nothing stays on a GPU."""
        return _size_bytes(self._weights)

    def has_host_memory(self) -> bool:
        """Whether there is something to move, and host memory for it: what is free, or kept from the last sleep."""
        rest = self._weights[self._gone :]
        return bool(rest) and _has_room(rest)

    def sleep(self, wanted: Callable[[], bool]) -> bool:
        """Move the weights to host memory; stops when `wanted`. Returns whether all have gone.

        Where others take the host memory meanwhile, those that have gone come back and give theirs back. Raises
        ModelUnavailable where they cannot.
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
        """Move those that have gone back. Raises ModelUnavailable, and then they are where they were."""
        import torch

        from models.memory import transfer

        gone = self._weights[: self._gone]
        try:
            transfer.to_device(gone, torch.device(self._device))
        except Exception as exc:
            said = f"{type(exc).__name__}: {exc}"
            if is_out_of_memory(exc):
                clear_traceback_frames(exc)
                said = f"the GPU has no room for them any more, another process may have taken it ({exc})"
            raise ModelUnavailable(
                f"the model slept, and {_size_bytes(gone) / GB:.1f} GB of its weights could not come back: {said}"
            ) from exc
        self._gone = 0


class HostMemoryShortage(Exception):
    """Others have taken the host memory that a weight was to go to."""


def _allocate(weight: "Tensor") -> "Tensor":
    """Host memory for one weight, if there is enough now: the other replicas of this host look after it is taken."""
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
