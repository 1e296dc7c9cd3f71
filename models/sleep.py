"""The lighter depth of idling: the weights wait in host memory while the GPU is free for others."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models import offload
from models.errors import ModelUnavailable
from models.host_memory import PINNED_SHARE, all_host_bytes, free_host_bytes, margin_bytes
from models.memory import drop_locals, free_memory, is_out_of_memory, kept_pinned_bytes
from models.placement import GB, Placement

if TYPE_CHECKING:
    from torch import Tensor


class Bed:
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

    def has_room(self) -> bool:
        """Whether there is something to move, and host memory for it: what is free, or kept from the last sleep."""
        rest = self._weights[self._gone :]
        needed = _size_bytes(rest) * PINNED_SHARE + margin_bytes(all_host_bytes())
        return bool(rest) and needed <= free_host_bytes() + kept_pinned_bytes()

    def lie_down(self, wanted: Callable[[], bool]) -> bool:
        """Move the weights to host memory; stops when `wanted`. Returns whether all have gone."""
        from models import transfer

        for weight in self._weights[self._gone :]:
            if not transfer.to_host([weight], wanted):
                break
            self._gone += 1
        free_memory()
        return self._gone == len(self._weights)

    def get_up(self) -> None:
        """Move those that have gone back. Raises ModelUnavailable, and then they are where they were."""
        import torch

        from models import transfer

        gone = self._weights[: self._gone]
        try:
            transfer.to_device(gone, torch.device(self._device))
        except Exception as exc:
            said = f"{type(exc).__name__}: {exc}"
            if is_out_of_memory(exc):
                drop_locals(exc)
                said = f"the GPU has no room for them any more, another process may have taken it ({exc})"
            raise ModelUnavailable(
                f"the model slept, and {_size_bytes(gone) / GB:.1f} GB of its weights could not come back: {said}"
            ) from exc
        self._gone = 0


def _size_bytes(weights: "list[Tensor]") -> int:
    return sum(weight.nbytes for weight in weights)
