"""Counts the bytes of live tensors, at full size and without allocating them: the tensors have only shapes.

Some operations depend on a value. They get the value of a usual render: a mask masks nothing, all numbers are finite,
and an image-to-video has two distinct timesteps.
"""

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

DISTINCT = 2
VALUE = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001  # what bool() and item() call
UNIQUE = torch.ops.aten._unique2.default  # noqa: SLF001


class LiveBytes(TorchDispatchMode):
    """Tracks each tensor that an operation creates until its memory is freed."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes = FakeTensorMode(allow_non_fake_inputs=True)
        self._sizes: dict[int, int] = {}
        self.live_bytes = 0
        self.peak_bytes = 0

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Create only shapes of tensors in this context, and count their bytes."""
        with self._shapes, self, torch.no_grad():
            yield

    def forget_peak(self) -> None:
        """Start a new peak from the bytes that are live now."""
        self.peak_bytes = self.live_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run one operation on shapes only."""
        if func is VALUE and args[0].dtype == torch.bool:
            return True
        result = _distinct(args[0]) if func is UNIQUE else func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # noqa: SLF001  # identifies the memory
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._lose, key)

    def _lose(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key)


def _distinct(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    where = torch.empty(tensor.shape, dtype=torch.int64, device=tensor.device)
    return tensor.new_empty(DISTINCT), where, where.new_empty(0)


class TrueScheduler(FlowMatchEulerDiscreteScheduler):
    """A scheduler with real noise levels, in a context where all other tensors are shapes."""

    def __init__(self, **config: Any) -> None:
        with unset_fake_temporarily():
            super().__init__(**config)

    def set_timesteps(  # the names are asked for by the pipeline
        self,
        num_inference_steps: int | None = None,
        device: Any = None,  # noqa: ARG002
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        """Compute the noise levels as usual, on the CPU."""
        with unset_fake_temporarily():
            super().set_timesteps(num_inference_steps, "cpu", sigmas, mu, timesteps)

    def _init_step_index(self, timestep: Any) -> None:  # noqa: ARG002
        """Start at the first step."""
        self._step_index = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "TrueScheduler":
        """A new scheduler with the same config: copies of its tensors would be shapes."""
        return type(self)(**self.config)
