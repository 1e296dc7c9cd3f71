"""What a step takes: diffusers as it comes, each speed-up alone and together, and the ways of `quality: fast`."""

from dataclasses import replace
from typing import Any

from benchmarks.gpu.measure import Denoised, Shape, count_tflop_a_step, denoise, difference
from benchmarks.gpu.subject import Subject
from models.fast.fp8 import MIN_WEIGHTS, Fp8Linears
from models.fast.interval import GuidanceInterval
from models.speedup_choice import LESS_WORK, Speedup
from models.speedups import forget, install

PLAIN = "diffusers"
TASK_STEPS = 40
TINY_WEIGHTS = 256
"""Layers of the tiny model that stand for large ones."""


def options(device: str) -> dict[str, tuple[Speedup, ...]]:
    """Each speed-up alone, then those of `auto`, then all that this device has."""
    alone = {str(name): (name,) for name in LESS_WORK}
    together: dict[str, tuple[Speedup, ...]] = {"auto": LESS_WORK}
    if device == "cuda":
        alone |= {str(name): (name,) for name in (Speedup.CUDNN, Speedup.COMPILE)}
        together["auto + cudnn"] = (*LESS_WORK, Speedup.CUDNN)
        together["auto + compile"] = (*LESS_WORK, Speedup.COMPILE)
        together["all"] = tuple(Speedup)
    return {**alone, **together}


class Steps:
    """Measures one subject at one shape. `gemm_tflops` is the matrix rate of its device."""

    def __init__(self, subject: Subject, shape: Shape, gemm_tflops: float) -> None:
        self._subject = subject
        self._shape = shape
        self._gemm_tflops = gemm_tflops
        self._tflop = count_tflop_a_step(subject, shape)
        self.reference = denoise(subject, shape)
        """What diffusers makes as it comes."""

    def measure_options(self) -> list[dict[str, Any]]:
        """A row for diffusers as it comes, and one for each option."""
        rows = [self._row(PLAIN, self.reference)]
        for name, speedups in options(self._subject.device).items():
            twin = self._subject.with_twin()
            install(twin.pipe.transformer, speedups, twin.stg_blocks)
            self._warm_up(twin)
            rows.append(self._row(name, denoise(twin, self._shape)))
            forget(twin.pipe.transformer)
        return rows

    def measure_fast(self) -> list[dict[str, Any]]:
        """A row for each way of `quality: fast`, on top of the speed-ups of `auto`."""
        twin = self._subject.with_twin()
        transformer = twin.pipe.transformer
        interval = GuidanceInterval(transformer)
        install(transformer, LESS_WORK, twin.stg_blocks)
        linears = Fp8Linears(transformer, MIN_WEIGHTS if twin.device == "cuda" else TINY_WEIGHTS)
        ways = {"unguided": interval.only(0), "float8": linears.on()}
        rows = []
        for name, way in ways.items():
            with way:
                self._warm_up(twin)
                rows.append(self._row(f"fast: {name}", denoise(twin, self._shape)))
            forget(transformer)
        return rows

    def _warm_up(self, subject: Subject) -> None:
        """Two steps, for which kernels are chosen and blocks compiled."""
        denoise(subject, replace(self._shape, steps=2))

    def _row(self, name: str, done: Denoised) -> dict[str, Any]:
        return {
            "option": name,
            "step_s": done.step_s,
            "steps_40_s": TASK_STEPS * done.step_s,
            "faster": self.reference.step_s / done.step_s,
            "peak_gb": done.peak_gb,
            "gemm_share": self._tflop / done.step_s / self._gemm_tflops,
            "difference": difference(done, self.reference),
        }
