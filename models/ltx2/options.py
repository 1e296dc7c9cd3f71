"""The operator's options for loading a model. Does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.checkpoint.profile import CheckpointType
from models.checkpoint.upsampler import AUTO as AUTO_UPSAMPLER
from models.fixes import ALL, Fix
from models.lora.distilled import DEFAULT_SCALE
from models.lora.distilled import OFF as NO_DISTILLED_LORA
from models.lora.source import LoraSource
from models.memory.offload_plan import OffloadMode, TextEncoderDtype, WeightDtype
from models.optimizations.selection import AUTO, Optimization

PROMPT_CACHE_BYTES = 268_435_456
"""Enough for some twenty prompts of LTX-2."""

FAST_GUIDANCE_FRACTION = 0.5
"""40 steps take 98 transformer calls instead of 156, with `stg_prefix_reuse` in the STG pass (counted)."""


@dataclass(frozen=True)
class LoadOptions:
    """The operator's choices. The defaults are exact and work on every device.

    - `optimizations`: "auto", "off" or names, see models/optimizations.
    - `offload`: None chooses by the free memory.
    - `weight_dtype` and `text_encoder_dtype`: values other than bf16 are not exact.
    - `checkpoint_type`: see models/checkpoint/profile.py.
    - `prompt_cache_bytes`: host memory for encoded prompts.
    - `fast_guidance_fraction`: the fraction of steps that a task of quality fast guides.
    - `fast_float8`: whether such a task multiplies in float8.
    - `loras`: the LoRAs that requests may pick.
    - `latent_upsampler`: "auto", "off", a folder or a repository, see models/checkpoint/upsampler.py.
    - `distilled_lora`: "off", "auto", a file, a folder or a repository, see models/lora/distilled.py.
    - `distilled_lora_scale`: how strongly that LoRA acts.
    - `fixes`: all, except in a comparison with diffusers. No setting changes them.
    """

    optimizations: str | Sequence[Optimization] = AUTO
    offload: OffloadMode | None = None
    weight_dtype: WeightDtype = WeightDtype.BF16
    text_encoder_dtype: TextEncoderDtype = TextEncoderDtype.BF16
    checkpoint_type: CheckpointType = CheckpointType.AUTO
    prompt_cache_bytes: int = PROMPT_CACHE_BYTES
    fast_guidance_fraction: float = FAST_GUIDANCE_FRACTION
    fast_float8: bool = False
    loras: tuple[LoraSource, ...] = ()
    fixes: frozenset[Fix] = ALL
    latent_upsampler: str = AUTO_UPSAMPLER
    distilled_lora: str = NO_DISTILLED_LORA
    distilled_lora_scale: float = DEFAULT_SCALE
