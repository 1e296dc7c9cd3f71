"""How a model is to be loaded: what the operator may choose. Knows no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.fixes import ALL, Fix
from models.placement import OffloadMode, TextEncoderDtype, WeightDtype
from models.recipes import CheckpointType
from models.speedup_choice import AUTO, Optimization

PROMPT_CACHE_BYTES = 268_435_456
"""Some twenty prompts of LTX-2."""

FAST_GUIDANCE_FRACTION = 0.5
"""40 steps take 98 evaluations instead of 156, with the STG pass as the speed-up `prefix` has it (counted)."""


@dataclass(frozen=True)
class LoadOptions:
    """Choices of the operator; the defaults are exact and suit every device.

    `speedups` is "auto", "off" or names: see models/optimizations. `place` None chooses by the memory that is free.
    `weights` and `text_encoder_dtype` other than bf16 are not exact. `training`: see models/recipes.
    `prompt_cache_bytes` of host memory keep encoded prompts. `fast_guidance_fraction` of the steps are guided in a task of
    quality fast, and `fast_float8` multiplies in float8 in it. `fixes` are all but for a comparison with diffusers: no
    setting names them.
    """

    optimizations: str | Sequence[Optimization] = AUTO
    offload: OffloadMode | None = None
    weight_dtype: WeightDtype = WeightDtype.BF16
    text_encoder_dtype: TextEncoderDtype = TextEncoderDtype.BF16
    checkpoint_type: CheckpointType = CheckpointType.AUTO
    prompt_cache_bytes: int = PROMPT_CACHE_BYTES
    fast_guidance_fraction: float = FAST_GUIDANCE_FRACTION
    fast_float8: bool = False
    fixes: frozenset[Fix] = ALL
