"""What a step takes: diffusers as it comes, each speed-up alone and together, and the ways of `quality: fast`."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from benchmarks.gpu.measure import Denoised, Shape, count_tflop_a_step, denoise, difference
from benchmarks.gpu.rows import Row, tried
from benchmarks.gpu.subject import Subject
from models.fast.fp8 import MIN_WEIGHTS, Fp8Linears
from models.fast.interval import GuidanceInterval
from models.speedup_choice import LESS_WORK, Speedup
from models.speedups import forget, install

PLAIN = "diffusers"
TASK_STEPS = 40
TINY_WEIGHTS = 256
"""Layers of the tiny model that stand for large ones."""


Options = Mapping[str, tuple[Speedup, ...]]


def options(device: str) -> Options:
    """Each speed-up alone, then those of `auto`, then with all that this device has."""
    alone = {str(name): (name,) for name in LESS_WORK}
    together: dict[str, tuple[Speedup, ...]] = {"auto": LESS_WORK}
    if device == "cuda":
        alone[str(Speedup.CUDNN)] = (Speedup.CUDNN,)
        together["auto + cudnn"] = (*LESS_WORK, Speedup.CUDNN)
    return {**alone, **together}


def compiled_options() -> Options:
    """The same with compiled blocks."""
    return {
        "auto + compile": (*LESS_WORK, Speedup.COMPILE),
        "all": tuple(Speedup),
        str(Speedup.COMPILE): (Speedup.COMPILE,),
    }


class Steps:
    """Measures one subject at one shape. `gemm_tflops` is the matrix rate of its device."""

    def __init__(self, subject: Subject, shape: Shape, gemm_tflops: float) -> None:
        self._subject = subject
        self._shape = shape
        self._gemm_tflops = gemm_tflops
        self._tflop = count_tflop_a_step(subject, shape)
        self.reference = denoise(subject, shape)
        """What diffusers makes as it comes."""

    def measure_options(self) -> Iterator[Row]:
        """A row for diffusers as it comes, and one for each option without compiled blocks."""
        yield tried({"option": PLAIN}, lambda: self._figures(self.reference))
        yield from self._measure(options(self._subject.device))

    def measure_compiled(self) -> Iterator[Row]:
        """A row for each option with compiled blocks."""
        yield from self._measure(compiled_options())

    def measure_fast(self) -> Iterator[Row]:
        """A row for each way of `quality: fast`, on top of the speed-ups of `auto`."""
        twin = self._subject.with_twin()
        transformer = twin.pipe.transformer
        interval = GuidanceInterval(transformer)
        install(transformer, LESS_WORK, twin.stg_blocks)
        linears = Fp8Linears(transformer, MIN_WEIGHTS if twin.device == "cuda" else TINY_WEIGHTS)
        for name, way in {"unguided": interval.only(0), "float8": linears.on()}.items():
            yield tried({"option": f"fast: {name}"}, lambda way=way: self._render_fast(twin, way))

    def _measure(self, given: Options) -> Iterator[Row]:
        for name, speedups in given.items():
            yield tried({"option": name}, lambda speedups=speedups: self._render(speedups))

    def _render(self, speedups: tuple[Speedup, ...]) -> Row:
        """What is compiled is forgotten after it: torch counts the variants of a block over all options."""
        twin = self._subject.with_twin()
        install(twin.pipe.transformer, speedups, twin.stg_blocks)
        try:
            return self._figures_warm(twin)
        finally:
            if Speedup.COMPILE in speedups:
                torch.compiler.reset()

    def _render_fast(self, twin: Subject, way: AbstractContextManager[None]) -> Row:
        try:
            with way:
                return self._figures_warm(twin)
        finally:
            forget(twin.pipe.transformer)

    def _figures_warm(self, subject: Subject) -> Row:
        """After two steps, for which kernels are chosen and blocks compiled."""
        denoise(subject, replace(self._shape, steps=2))
        return self._figures(denoise(subject, self._shape))

    def _figures(self, done: Denoised) -> Row:
        return {
            "step_s": done.step_s,
            "steps_40_s": TASK_STEPS * done.step_s,
            "faster": self.reference.step_s / done.step_s,
            "peak_gb": done.peak_gb,
            "gemm_share": self._tflop / done.step_s / self._gemm_tflops,
            "difference": difference(done, self.reference),
        }
