"""How a model is to be loaded: what the operator may choose. Knows no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.checkpoint.profile import CheckpointType
from models.fixes import ALL, Fix
from models.memory.offload_plan import OffloadMode, TextEncoderDtype, WeightDtype
from models.optimizations.selection import AUTO, Optimization

PROMPT_CACHE_BYTES = 268_435_456
"""Some twenty prompts of LTX-2."""

FAST_GUIDANCE_FRACTION = 0.5
"""40 steps take 98 evaluations instead of 156, with `stg_prefix_reuse` in the STG pass (counted)."""


@dataclass(frozen=True)
class LoadOptions:
    """Choices of the operator; the defaults are exact and suit every device.

    `optimizations` is "auto", "off" or names: see models/optimizations. `offload` None chooses by the free memory.
    `weight_dtype` and `text_encoder_dtype` other than bf16 are not exact. `checkpoint_type`: see
    models/checkpoint/profile.py. `prompt_cache_bytes` of host memory keep encoded prompts. A task of quality fast
    guides `fast_guidance_fraction` of its steps, and multiplies in float8 if `fast_float8` is on. `fixes` are all but
    for a comparison with diffusers: no setting names them.
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
