"""Applies a placement to a loaded pipeline, with diffusers' group offloading. Does not import Ray."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from models.hub.host_lock import host_lock
from models.ltx2.text_encoding import multiply_by_rows
from models.memory.host import max_pinned_bytes, pinned_bytes
from models.memory.offload_plan import (
    OFFLOADED_COMPONENTS,
    TEXT_ENCODER,
    TRANSFORMER,
    UPSAMPLER,
    OffloadMode,
    Placement,
    TextEncoderDtype,
    WeightDtype,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


STREAMED_PARTS = MappingProxyType({TRANSFORMER: ("transformer_blocks",), "vae": ("encoder", "decoder")})
"""The streamed parts of components that are not streamed whole. Hooks work on modules whose `forward` is called. A
VAE's `forward` is not called: diffusers' hook on it would record every call of every layer without end, and never
prefetch."""

RECORD_STREAM = False
"""Whether a finished block's memory is released by the allocator, without waiting for the GPU. It saves one
synchronization per block. It costs memory that no plan counts: a block's memory is not reusable until the GPU has
finished with it. Not measured yet."""


def apply(pipe: Any, placement: Placement, device: str = "cuda", upsampler: "Module | None" = None) -> Placement:
    """Move the components of `pipe`, and the upsampler if there is one. Return the resulting placement.

    `device="cpu"` replaces the GPU in tests: the same hooks, without streams and pinned memory.
    """
    import torch

    from models.memory import transfer
    from models.quantization.nf4 import store_in_4_bits

    if placement.weights is WeightDtype.FP8:
        from models.quantization.fp8 import round_weights

        on_cpu = placement.mode is OffloadMode.CPU
        back = on_cpu or TRANSFORMER in OFFLOADED_COMPONENTS[placement.mode]
        round_weights(pipe.transformer, torch.device("cpu" if on_cpu else device), back=back)
    if placement.text_weights is TextEncoderDtype.NF4:
        store_in_4_bits(pipe.text_encoder, torch.device(device))
    if placement.mode is OffloadMode.CPU:
        return placement
    passing = _modules(pipe, OFFLOADED_COMPONENTS[placement.mode], upsampler)
    pinned = pin(passing) if device == "cuda" else frozenset()
    for name, component in passing.items():
        enable_group_offload(name, component, torch.device(device))
    transfer.to_device(resident_weights(pipe, placement, upsampler), torch.device(device))
    return placement.with_pinned(pinned)


def pin(passing: "Mapping[str, Module]") -> frozenset[str]:
    """Pin streamed weights as far as host memory allows. Return the components that are pinned completely."""
    weights = {name: _streamed_weights(name, component) for name, component in passing.items()}
    sizes = {name: pinned_bytes(weight.nbytes for weight in each) for name, each in weights.items()}
    chosen = choose_pinned(sizes, max_pinned_bytes())
    return frozenset(name for name in passing if name in chosen and all(map(_pin_weight, weights[name])))


def _pin_weight(weight: "Tensor") -> bool:
    """Pin one weight if there is memory for it. With the lock, other replicas of this host measure only afterwards."""
    from models.memory import transfer

    with host_lock():
        if pinned_bytes([weight.nbytes]) > max_pinned_bytes():
            return False
        target = transfer.allocate_host(weight)
    weight.data = target.copy_(weight.data)
    return True


def choose_pinned(sizes: Mapping[str, int], room_bytes: int) -> frozenset[str]:
    """Choose the components to pin, given their sizes and the available pinned memory in bytes.

    The transformer comes first, because it is streamed at every call. Weights that are not pinned are copied into
    pinned memory each time they are streamed, and nothing is computed during that copy.
    """
    chosen = set()
    for name in sorted(sizes, key=lambda name: (name != TRANSFORMER, -sizes[name])):
        if sizes[name] <= room_bytes:
            chosen.add(name)
            room_bytes -= sizes[name]
    return frozenset(chosen)


def resident_weights(pipe: Any, placement: Placement, upsampler: "Module | None" = None) -> "list[Tensor]":
    """The weights that stay on the GPU: all that are not streamed."""
    from models.memory.transfer import weights_of

    if placement.mode is OffloadMode.CPU:
        return []
    passing = _modules(pipe, OFFLOADED_COMPONENTS[placement.mode], upsampler)
    gone = {id(weight) for name, component in passing.items() for weight in _streamed_weights(name, component)}
    loaded = _modules(pipe, (*pipe.components, UPSAMPLER), upsampler)
    return [weight for weight in weights_of(loaded.values()) if id(weight) not in gone]


def _modules(pipe: Any, names: Iterable[str], upsampler: "Module | None") -> "dict[str, Module]":
    """The components with these names that have weights. The upsampler belongs to no pipeline."""
    import torch

    found = {name: upsampler if name == UPSAMPLER else pipe.components.get(name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, torch.nn.Module)}


def _streamed_weights(name: str, component: "Module") -> "list[Tensor]":
    """The streamed weights of a component. Weights outside its blocks, encoder or decoder stay on the GPU."""
    from models.memory.transfer import weights_of

    return weights_of([component.get_submodule(part) for part in STREAMED_PARTS.get(name, ("",))])


def enable_group_offload(name: str, component: Any, device: Any) -> None:
    """Keep a component in host memory and move its parts to `device` when they are called.

    The transformer is streamed by blocks; each block prefetches the next one while it computes. Streaming by layers
    would fail: calls skip different layers, and the layer after a skipped one would not be prefetched. Pinned weights
    are copied as they are. For the others diffusers makes a pinned copy each time.
    """
    import torch
    from diffusers.hooks import apply_group_offloading

    how: dict[str, Any] = {
        "onload_device": device,
        "offload_device": torch.device("cpu"),
        "use_stream": device.type == "cuda",
        "low_cpu_mem_usage": device.type == "cuda",
        "record_stream": device.type == "cuda" and RECORD_STREAM,
    }
    if name == TRANSFORMER:
        apply_group_offloading(component, offload_type="block_level", num_blocks_per_group=1, **how)
        _keep_root(component)
        return
    if name == TEXT_ENCODER:
        multiply_by_rows(component)
    for part in STREAMED_PARTS.get(name, ("",)):
        apply_group_offloading(component.get_submodule(part), offload_type="leaf_level", **how)


def _keep_root(transformer: Any) -> None:
    """Make diffusers leave the transformer's weights outside the blocks on the GPU.

    It would move them to the GPU at each call and back afterwards, with memory that is not pinned, and nothing is
    computed meanwhile (0.42): 0.7 to 0.9 GB each way, three calls per step.
    """
    # diffusers has no public access to it
    group = transformer._diffusers_hook.get_hook("group_offloading").group  # noqa: SLF001
    group.modules, group.parameters, group.buffers = [], [], []


def free_vram_bytes() -> int:
    """Free memory on the current CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[0])


def usable_vram_bytes() -> int:
    """Free memory on the current CUDA device, including torch's cache."""
    import torch

    return free_vram_bytes() + int(torch.cuda.memory_reserved()) - int(torch.cuda.memory_allocated())


def card_bytes() -> int:
    """Total memory of the current CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[1])
