"""Where the model's components stand while they work: chosen from the memory that is free. Knows no Ray.

Sizes are counted on the checkpoint's files; what a render needs beside the weights is the count in
`docs/` for 512x768, 121 frames: 6 GB while denoising an image-to-video, and 3 GB for CUDA and its kernels.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from models.checkpoint import components
from models.errors import ModelUnavailable
from models.recipes import BLOCKS_OF_LTX2

GB = 10**9
WORKING_BYTES = 9 * GB
"""Beside the weights, at 512x768, 121 frames."""
HOST_WORKING_BYTES = 4 * GB
BLOCKS_IN_FLIGHT = 2
"""A streamed transformer keeps the block that works and the block that comes next."""
DECODE_BYTES_PER_PIXEL = 86
"""What decoding a video whole needs, for each pixel of each frame, in bfloat16: 4.1 GB at 512x768x121."""


class Place(StrEnum):
    """Ways to hold a model, from the fastest to the smallest."""

    CPU = "cpu"
    """All on the CPU."""
    RESIDENT = "resident"
    """All on the GPU."""
    COMPONENTS = "components"
    """One component on the GPU at a time, the others in host memory (enable_model_cpu_offload)."""
    BLOCKS = "blocks"
    """One or two blocks on the GPU at a time, the others in host memory (enable_group_offload)."""


@dataclass(frozen=True)
class Sizes:
    """The weights in bytes: all of them, the largest component, and the largest block that is streamed."""

    total: int
    largest_component: int
    largest_block: int


@dataclass(frozen=True)
class Placement:
    """Where a model goes, and what it takes: GPU bytes with a render's working memory in them, and host bytes."""

    place: Place
    gpu_bytes: int
    host_bytes: int


def plan(free_vram_bytes: int, host_bytes: int, sizes: Sizes) -> Placement:
    """The fastest placement that fits, for `free_vram_bytes` on the GPU and `host_bytes` of free host memory.

    Raises ModelUnavailable where none fits, saying what each would need.
    """
    options = gpu_placements(sizes)
    for option in options:
        if option.gpu_bytes <= free_vram_bytes and option.host_bytes <= host_bytes:
            return option
    needs = "; ".join(
        f"{option.place}: {_gb(option.gpu_bytes)} on the GPU and {_gb(option.host_bytes)} in host memory"
        for option in options
    )
    raise ModelUnavailable(
        f"the model does not fit: {_gb(free_vram_bytes)} is free on the GPU and {_gb(host_bytes)} in host memory, "
        f"and it needs ({needs})"
    )


def plan_cpu(host_bytes: int, sizes: Sizes) -> Placement:
    """All on the CPU. Raises ModelUnavailable where host memory is too small."""
    needed = sizes.total
    if needed > host_bytes:
        raise ModelUnavailable(
            f"the model does not fit: it needs {_gb(needed)} of host memory on the CPU, and {_gb(host_bytes)} is free"
        )
    return Placement(Place.CPU, gpu_bytes=0, host_bytes=needed)


def gpu_placements(sizes: Sizes) -> tuple[Placement, ...]:
    """What each way on a GPU takes, the fastest first."""
    held = sizes.total + HOST_WORKING_BYTES
    return (
        Placement(Place.RESIDENT, sizes.total + WORKING_BYTES, HOST_WORKING_BYTES),
        Placement(Place.COMPONENTS, sizes.largest_component + WORKING_BYTES, held),
        Placement(Place.BLOCKS, sizes.largest_block * BLOCKS_IN_FLIGHT + WORKING_BYTES, held),
    )


def decode_bytes(height: int, width: int, num_frames: int) -> int:
    """What the video decoder needs, beside its weights, to decode a whole video at once."""
    return height * width * num_frames * DECODE_BYTES_PER_PIXEL


def measure_sizes(folder: Path) -> Sizes:
    """Sizes of the files of a checkpoint that diffusers saved in `folder`."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
    weights = {name: _weights_bytes(folder / name) for name in components(index)}
    return Sizes(
        total=sum(weights.values()),
        largest_component=max(weights.values(), default=0),
        largest_block=weights.get("transformer", 0) // int(config.get("num_layers", BLOCKS_OF_LTX2)),
    )


def _weights_bytes(component: Path) -> int:
    return sum(file.stat().st_size for file in component.glob("*.safetensors"))


def apply(pipe: Any, placement: Placement) -> None:
    """Put a loaded pipeline where the placement says, with diffusers' own means."""
    import torch

    match placement.place:
        case Place.CPU:
            return
        case Place.RESIDENT:
            pipe.to("cuda")
        case Place.COMPONENTS:
            pipe.enable_model_cpu_offload(device="cuda")
        case Place.BLOCKS:
            pipe.enable_group_offload(
                onload_device=torch.device("cuda"),
                offload_device=torch.device("cpu"),
                offload_type="leaf_level",
                use_stream=True,
                low_cpu_mem_usage=True,
            )


def free_vram_bytes() -> int:
    """Free memory on the current CUDA device."""
    import torch

    return int(torch.cuda.mem_get_info()[0])


def free_host_bytes() -> int:
    """Host memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / GB:.1f} GB"
