"""Combines the optimizations of a fast task, for one loaded model."""

import contextlib
from collections.abc import Iterator
from typing import Any

from models.conditions import NOTHING_GIVEN, GivenTokens
from models.memory import offload
from models.memory.estimate import estimate_peak, guided_steps
from models.memory.gpu import empty_cuda_cache
from models.memory.offload_plan import OFFLOADED_COMPONENTS, TRANSFORMER, OffloadMode, Placement, WeightDtype
from models.optimizations.fast.fp8 import Fp8Linears, can_multiply
from models.optimizations.fast.guidance_interval import GuidanceInterval
from models.request.enums import Quality
from models.request.request import VideoRequest


class FastMode:
    """Optimizations of fast tasks.

    `guided_share` is the fraction of steps that are guided. `float8` multiplies in float8 where possible.
    """

    def __init__(self, transformer: Any, placed: Placement, guided_share: float, *, float8: bool = False) -> None:
        self._transformer = transformer
        self._placed = placed
        self._guided_share = guided_share
        self._float8 = float8
        self._interval = GuidanceInterval(transformer)

    @contextlib.contextmanager
    def applied(self, request: VideoRequest, given: GivenTokens = NOTHING_GIVEN) -> Iterator[str]:
        """Render `request` in this context. Yields what is skipped, as text for the log; empty for an exact request."""
        if request.quality != Quality.FAST:
            yield ""
            return
        guided = guided_steps(request, self._guided_share)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interval.only(guided))
            words = f"guidance on {guided} of {request.num_inference_steps} steps"
            if linears := self._fp8(request, given):
                stack.enter_context(linears.on())
                words += ", products in float8"
            yield words

    def _fp8(self, request: VideoRequest, given: GivenTokens) -> Fp8Linears | None:
        """The layers to quantize. None if float8 is off, is unsupported, or lacks memory for a second copy."""
        if not self._float8:
            return None
        place = self._placed.mode
        streamed = place is OffloadMode.CPU or TRANSFORMER in OFFLOADED_COMPONENTS[place]
        if streamed or self._placed.weights is WeightDtype.FP8 or not can_multiply(self._transformer.device):
            return None
        empty_cuda_cache()
        linears = Fp8Linears(self._transformer)
        needed = linears.size_bytes + estimate_peak(request, given).bytes
        return linears if needed <= offload.free_vram_bytes() else None
