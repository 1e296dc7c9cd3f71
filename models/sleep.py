"""The lighter depth of idling: the weights wait in host memory while the GPU is free for others."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models import offload
from models.host_memory import free_host_bytes
from models.memory import free_memory
from models.placement import Placement

if TYPE_CHECKING:
    from torch import Tensor

MARGIN_BYTES = 8 * 10**9
"""Host memory that is left for clips, the page cache and everybody else."""
PINNED_SHARE = 1.25
"""torch takes pinned memory in blocks that are powers of two."""


class Bed:
    """Where a model's resident weights sleep. `device` is where they work."""

    def __init__(self, pipe: Any, placement: Placement, device: str = "cuda") -> None:
        self._weights: list[Tensor] = offload.resident_weights(pipe, placement)
        self._device = device
        self.asleep = False
        """Whether weights are, in part at least, where no render can use them."""

    @property
    def size_bytes(self) -> int:
        """What the weights occupy; 0 where nothing stays on a GPU."""
        return sum(weight.nbytes for weight in self._weights)

    def has_room(self) -> bool:
        """Whether there is something to move, and host memory for it."""
        needed = self.size_bytes * PINNED_SHARE + MARGIN_BYTES
        return bool(self._weights) and needed <= free_host_bytes()

    def lie_down(self, wanted: Callable[[], bool]) -> bool:
        """Move the weights to host memory; stops when `wanted`. Returns whether all have gone."""
        from models import transfer

        self.asleep = True
        gone = transfer.to_host(self._weights, wanted)
        free_memory()
        return gone

    def get_up(self) -> None:
        """Move the weights back."""
        import torch

        from models import transfer

        transfer.to_device(self._weights, torch.device(self._device))
        self.asleep = False
