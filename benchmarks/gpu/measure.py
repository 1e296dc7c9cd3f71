"""The measurements of benchmarks.gpu: seconds per step, floating-point work, peak memory, differences."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import SEED
from benchmarks.gpu.model_under_test import Subject

GB = 10**9
GEMM_ROUNDS = 10
OF_ATTENTION = ("attention", "flash", "fmha", "sdpa", "sage", "cudnn_generated")
"""Words in the names of attention kernels, of torch and other packages."""
MOST_KERNELS = 12


@dataclass(frozen=True)
class Shape:
    """The size of the video, and the number of steps."""

    height: int
    width: int
    num_frames: int
    steps: int


@dataclass(frozen=True)
class Denoised:
    """The result of one pipeline call up to its latents."""

    video: torch.Tensor
    audio: torch.Tensor
    seconds: float
    step_s: float
    """The median over all steps except the first, which is a warm-up."""
    peak_gb: float
    reserved_gb: float
    """The peak memory that torch's allocator reserved. The part above `peak_gb` is fragmentation."""

    @property
    def finite(self) -> bool:
        """Whether all values are finite. If not, the other figures of the row are meaningless."""
        return bool(self.video.isfinite().all() and self.audio.isfinite().all())


def denoise(subject: Subject, shape: Shape) -> Denoised:
    """Run the pipeline up to its latents."""
    ends: list[float] = []

    def note(*_given: Any) -> dict[str, Any]:
        wait(subject.device)
        ends.append(time.perf_counter())
        return {}

    forget_peak(subject.device)
    start = time.perf_counter()
    video, audio = subject.pipe(
        **subject.call,
        height=shape.height,
        width=shape.width,
        num_frames=shape.num_frames,
        frame_rate=25.0,
        num_inference_steps=shape.steps,
        generator=torch.Generator("cpu").manual_seed(SEED),
        callback_on_step_end=note,
        callback_on_step_end_tensor_inputs=[],
        output_type="latent",
        return_dict=False,
    )
    steps = sorted(later - earlier for earlier, later in itertools.pairwise(ends))
    return Denoised(video, audio, ends[-1] - start, steps[len(steps) // 2], *peaks_gb(subject.device))


def count_tflop_a_step(subject: Subject, shape: Shape) -> float:
    """The floating-point work of one step of plain diffusers in TFLOP, counted during a run."""
    counter = FlopCounterMode(display=False)
    with counter:
        denoise(subject, Shape(shape.height, shape.width, shape.num_frames, steps=2))
    return float(counter.get_total_flops()) / 2 / 1e12


def gemm_tflops(device: str, side: int) -> float:
    """The matrix rate of this device in TFLOP/s: a square bfloat16 product (float32 on a CPU), the best of ten."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    best = min(timed(lambda: left @ right, device) for _ in range(GEMM_ROUNDS))
    return 2 * side**3 / best / 1e12


def decode(subject: Subject, latents: torch.Tensor) -> dict[str, float]:
    """Decode a video: seconds, and the peak of allocated and of reserved memory."""
    vae = subject.pipe.vae
    timestep = latents.new_zeros(1, dtype=vae.dtype) if vae.config.timestep_conditioning else None
    forget_peak(subject.device)
    with torch.no_grad():
        seconds = timed(lambda: vae.decode(latents.to(vae.dtype), timestep, return_dict=False), subject.device)
    held, reserved = peaks_gb(subject.device)
    return {"seconds": seconds, "peak_gb": held, "reserved_gb": reserved}


def difference(one: Denoised, other: Denoised) -> float:
    """The relative difference of two results: |one - other| / |other|, the larger of video and audio."""
    pairs = ((one.video, other.video), (one.audio, other.audio))
    return max(float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs)


def write_profile(subject: Subject, shape: Shape, path: Path) -> None:
    """Profile two steps, and write the kernels that took longest."""
    order = "self_cuda_time_total" if subject.device == "cuda" else "self_cpu_time_total"
    profiled = run_profiled(subject, shape)
    path.write_text(profiled.key_averages().table(sort_by=order, row_limit=40), encoding="utf-8")


def run_profiled(subject: Subject, shape: Shape) -> Any:
    """Run two steps under torch's profiler."""
    on_gpu = subject.device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as profiled:  # torch 2.11 warns if acc_events is not set
        denoise(subject, Shape(shape.height, shape.width, shape.num_frames, steps=2))
    return profiled


def timed(work: Callable[[], Any], device: str) -> float:
    """The seconds that `work` takes, including the device's pending work."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Wait until the device is idle."""
    if device == "cuda":
        torch.cuda.synchronize()


def forget_peak(device: str) -> None:
    """Reset the peak memory."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """The peak of allocated memory, weights included; 0 on a CPU, which does not report it."""
    return torch.cuda.max_memory_allocated() / GB if device == "cuda" else 0.0


def peaks_gb(device: str) -> tuple[float, float]:
    """The peaks of allocated and of reserved memory; zeros on a CPU."""
    return peak_gb(device), torch.cuda.max_memory_reserved() / GB if device == "cuda" else 0.0


def outside_gb(device: str) -> float:
    """GPU memory used outside torch: CUDA's context, kernels and libraries, and other processes."""
    if device != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free - torch.cuda.memory_reserved()) / GB


def attention_kernels(subject: Subject, shape: Shape) -> list[dict[str, Any]]:
    """The attention kernels that ran in two steps, the slowest first."""
    profiled = run_profiled(subject, shape)
    on_gpu = subject.device == "cuda"
    rows = [
        {
            "kernel": event.key[:60],
            "calls": event.count,
            "seconds": (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6,
        }
        for event in profiled.key_averages()
        if any(word in event.key.lower() for word in OF_ATTENTION)
    ]
    return sorted(rows, key=lambda row: -row["seconds"])[:MOST_KERNELS]


def held_gb(device: str) -> float:
    """Memory that tensors use now; 0 on a CPU."""
    return torch.cuda.memory_allocated() / GB if device == "cuda" else 0.0
