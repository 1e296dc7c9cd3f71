"""Moves weights between host memory and a device, at the bus's full rate.

torch copies one tensor after the other, and pageable memory at a fraction of the bus's rate. Here several streams copy
at once. Each has two pinned buffers: one is filled while the other is copied. Weights that are pinned themselves are
copied directly. On a CPU, which replaces the GPU in tests, the same code copies through ordinary buffers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

COPY_STREAMS = 4
BUFFER_BYTES = 32 * 1024 * 1024


def weights_of(components: Iterable[nn.Module]) -> list[Tensor]:
    """All parameters and buffers, each once, the largest first. This order makes parallel copy streams end together."""
    found = {id(tensor): tensor for component in components for tensor in _tensors(component)}
    return sorted(found.values(), key=lambda tensor: tensor.nbytes, reverse=True)


def _tensors(component: nn.Module) -> Iterator[Tensor]:
    yield from component.parameters()
    yield from component.buffers()


def to_device(weights: Sequence[Tensor], device: torch.device) -> None:
    """Move `weights` to `device` in place, except those already there. Returns when the copies are complete."""
    away = [weight for weight in weights if weight.device.type != device.type or device.type == "cpu"]
    pairs = [(weight, torch.empty_like(weight.data, device=device)) for weight in away]
    with ThreadPoolExecutor(COPY_STREAMS, thread_name_prefix="to-device", initializer=_use, initargs=(device,)) as pool:
        streams = [pool.submit(_copy_all, pairs[stream::COPY_STREAMS], device) for stream in range(COPY_STREAMS)]
        for stream in streams:
            stream.result()
    for weight, target in pairs:
        weight.data = target


def allocate_host(weight: Tensor) -> Tensor:
    """Allocate host memory for `weight`, pinned if there is CUDA. Pinned memory is taken at once."""
    return torch.empty_like(weight.data, device="cpu", pin_memory=torch.cuda.is_available())


def to_host(
    weights: Sequence[Tensor], stop: Callable[[], bool], allocate: Callable[[Tensor], Tensor] = allocate_host
) -> bool:
    """Move `weights` to host memory, in place. If `allocate` raises, its weight stays where it was.

    Calls `stop` before each weight. Returns whether all were moved; the others stay where they were.
    """
    for weight in weights:
        if stop():
            return False
        weight.data = allocate(weight).copy_(weight.data)
    return True


def _use(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)


def _copy_all(pairs: Sequence[tuple[Tensor, Tensor]], device: torch.device) -> None:
    stream = CopyStream(device)
    for weight, target in pairs:
        stream.copy(weight.data, target)
    stream.finish()


class CopyStream:
    """A copy stream to a device, with two alternating buffers."""

    def __init__(self, device: torch.device) -> None:
        cuda: Any = torch.cuda
        self._on_gpu = device.type == "cuda"
        self._stream: Any = None
        self._buffers = [torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=self._on_gpu) for _ in range(2)]
        self._emptied: list[Any] = [cuda.Event() if self._on_gpu else None for _ in range(2)]
        self._turn = 0
        if self._on_gpu:
            self._stream = cuda.Stream(device)
            self._stream.wait_stream(cuda.default_stream(device))

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy `source`, in host memory, to `target`. On a GPU, the copy may still be running on return."""
        with self._streamed():
            if not source.is_contiguous() or (self._on_gpu and source.is_pinned()):
                target.copy_(source, non_blocking=True)
            else:
                self._copy_in_parts(source.reshape(-1).view(torch.uint8), target.reshape(-1).view(torch.uint8))

    def finish(self) -> None:
        """Wait until all copies are complete."""
        if self._on_gpu:
            self._stream.synchronize()

    def _copy_in_parts(self, source: Tensor, target: Tensor) -> None:
        for start in range(0, len(source), BUFFER_BYTES):
            part = source[start : start + BUFFER_BYTES]
            buffer, emptied = self._buffers[self._turn], self._emptied[self._turn]
            self._turn = 1 - self._turn
            if self._on_gpu:
                emptied.synchronize()
            buffer[: len(part)].copy_(part)
            target[start : start + len(part)].copy_(buffer[: len(part)], non_blocking=True)
            if self._on_gpu:
                emptied.record(self._stream)

    def _streamed(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream) if self._on_gpu else nullcontext()
