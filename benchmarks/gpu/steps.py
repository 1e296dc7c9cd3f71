"""Measures a step: plain diffusers, each optimization alone and together, and the parts of `quality: fast`."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.gpu.measure import Denoised, Shape, attention_kernels, count_tflop_a_step, denoise, difference
from benchmarks.gpu.model_under_test import Subject
from benchmarks.gpu.table_rows import Row, tried
from models.optimizations.compiled import compile_blocks, use_backend
from models.optimizations.fast import fp8
from models.optimizations.fast.fp8 import MIN_WEIGHTS, Fp8Linears
from models.optimizations.fast.guidance_interval import GuidanceInterval
from models.optimizations.install import clear_caches, install
from models.optimizations.selection import ALWAYS_FASTER, Optimization

PLAIN = "diffusers"
AGAIN = "diffusers again"
"""The baseline, repeated at the end of a part. Its difference to the first run is the machine's noise."""
TASK_STEPS = 40
TINY_WEIGHTS = 256
"""The size from which layers of the tiny model count as large."""


Options = Mapping[str, tuple[Optimization, ...]]


def options(device: str) -> Options:
    """Each optimization alone, then those of `auto`, then all that this device supports."""
    alone = {str(name): (name,) for name in ALWAYS_FASTER}
    together: dict[str, tuple[Optimization, ...]] = {"auto": ALWAYS_FASTER}
    if device == "cuda":
        alone[str(Optimization.CUDNN)] = (Optimization.CUDNN,)
        together["auto + cudnn"] = (*ALWAYS_FASTER, Optimization.CUDNN)
    return {**alone, **together}


@dataclass(frozen=True)
class Compiled:
    """Compiled blocks in one of torch's modes, for one size or (`dynamic`) for all sizes, with other optimizations."""

    optimizations: tuple[Optimization, ...]
    mode: str = "default"
    dynamic: bool | None = None


def compiled_options() -> Mapping[str, Compiled]:
    """Ways to compile the blocks. Each may take minutes, so choose with `--options`."""
    return {
        "auto + compile": Compiled(ALWAYS_FASTER),
        "compile": Compiled(()),
        "compile dynamic": Compiled(ALWAYS_FASTER, dynamic=True),
        "compile autotune": Compiled(ALWAYS_FASTER, "max-autotune-no-cudagraphs"),
        "compile graphs": Compiled((Optimization.DROP_NOOP_MASK, Optimization.DEDUP_TIMESTEPS), "reduce-overhead"),
        "compile cudnn": Compiled((*ALWAYS_FASTER, Optimization.CUDNN)),
    }


ATTENTION = ("_native_flash", "_native_cudnn", "_native_efficient", "_flash_3", "sage")
"""diffusers' names of attention kernels for the video's self-attention that a GPU may support. Some need a package."""


class Steps:
    """Measures one subject at one shape. `gemm_tflops` is the matrix rate of its device."""

    def __init__(
        self, subject: Subject, shape: Shape, gemm_tflops: float, wanted: Collection[str] | None = None
    ) -> None:
        self._wanted = wanted
        self._subject = subject
        self._shape = shape
        self._gemm_tflops = gemm_tflops
        self._tflop = count_tflop_a_step(subject, shape)
        self.reference = denoise(subject, shape)
        """The result of plain diffusers."""

    def measure_options(self) -> Iterator[Row]:
        """A row for plain diffusers, and one for each option without compiled blocks."""
        yield tried({"option": PLAIN}, lambda: self._figures(self.reference))
        for name, optimizations in self._chosen(options(self._subject.device)).items():
            yield tried({"option": name}, lambda optimizations=optimizations: self._render(optimizations))
        yield tried({"option": AGAIN}, lambda: self._figures_warm(self._subject))

    def measure_attention(self) -> Iterator[Row]:
        """The kernels that torch selects by itself, then a row for each selectable kernel."""
        yield from attention_kernels(self._subject, self._shape)
        names = ATTENTION if self._subject.device == "cuda" else ("native",)
        for name in self._chosen(dict.fromkeys(names)):
            yield tried({"option": name}, lambda name=name: self._render_with(name))

    def measure_compiled(self) -> Iterator[Row]:
        """A row for each way of compiling the blocks, and one more for plain diffusers."""
        for name, option in self._chosen(compiled_options()).items():
            yield tried({"option": name}, lambda option=option: self._render_compiled(option))
        yield tried({"option": AGAIN}, lambda: self._figures_warm(self._subject))

    def measure_fast(self) -> Iterator[Row]:
        """A row for each part of `quality: fast`, with the optimizations of `auto`."""
        twin = self._subject.with_twin()
        transformer = twin.pipe.transformer
        interval = GuidanceInterval(transformer)
        install(transformer, ALWAYS_FASTER, twin.stg_blocks)
        linears = Fp8Linears(transformer, MIN_WEIGHTS if twin.device == "cuda" else TINY_WEIGHTS)
        ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "unguided": lambda: interval.only(0),
            "float8": linears.on,
            "float8, exact sums": lambda: _products(linears, fast_sums=False),
        }
        if twin.device == "cuda":
            ways["float8, fused"] = lambda: _products(linears, fast_sums=True, fused=True)
        for name, way in self._chosen(ways).items():
            yield tried({"option": f"fast: {name}"}, lambda way=way: self._render_fast(twin, way()))

    def _chosen(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: each for name, each in given.items() if self._wanted is None or name in self._wanted}

    def _render(self, optimizations: tuple[Optimization, ...]) -> Row:
        twin = self._subject.with_twin()
        install(twin.pipe.transformer, optimizations, twin.stg_blocks)
        return self._figures_warm(twin)

    def _render_with(self, backend: str) -> Row:
        """Measure with another attention kernel. The mask is dropped: most of these kernels support none."""
        twin = self._subject.with_twin()
        install(twin.pipe.transformer, (Optimization.DROP_NOOP_MASK,), twin.stg_blocks)
        use_backend(twin.pipe.transformer, backend)
        return self._figures_warm(twin)

    def _render_compiled(self, option: Compiled) -> Row:
        """Measure compiled blocks, then reset the compiler: torch counts a block's variants over all options."""
        twin = self._subject.with_twin()
        names = tuple(name for name in option.optimizations if name is not Optimization.TEXT_KV_CACHE)
        install(twin.pipe.transformer, names, twin.stg_blocks)
        compile_blocks(twin.pipe.transformer, mode=option.mode, dynamic=option.dynamic)
        start = time.perf_counter()
        try:
            denoise(twin, replace(self._shape, steps=2))
            return {"compile_s": time.perf_counter() - start, **self._figures_warm(twin)}
        finally:
            torch.compiler.reset()

    def _render_fast(self, twin: Subject, way: AbstractContextManager[None]) -> Row:
        try:
            with way:
                return self._figures_warm(twin)
        finally:
            clear_caches(twin.pipe.transformer)

    def _figures_warm(self, subject: Subject) -> Row:
        """Measure after a warm-up of two steps, in which kernels are chosen and blocks compiled."""
        denoise(subject, replace(self._shape, steps=2))
        return self._figures(denoise(subject, self._shape))

    def _figures(self, done: Denoised) -> Row:
        return {
            "step_s": done.step_s,
            "steps_40_s": TASK_STEPS * done.step_s,
            "faster": self.reference.step_s / done.step_s,
            "peak_gb": done.peak_gb,
            "reserved_gb": done.reserved_gb,
            "plain_gemm_share": self._tflop / done.step_s / self._gemm_tflops,
            "finite": done.finite,
            "difference": difference(done, self.reference),
        }


@contextmanager
def _products(linears: Fp8Linears, *, fast_sums: bool, fused: bool = False) -> Iterator[None]:
    """Multiply in float8, with exact or fast sums. `fused` compiles the quantization into one kernel."""
    plain = fp8.FAST_SUMS, fp8.round_rows
    fp8.FAST_SUMS = fast_sums
    if fused:
        fp8.round_rows = torch.compile(fp8.round_rows, dynamic=True)
    try:
        with linears.on():
            yield
    finally:
        fp8.FAST_SUMS, fp8.round_rows = plain
