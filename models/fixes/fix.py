"""The names of the fixes. Does not import torch."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from models.fixes.ancestral import use_ancestral
from models.fixes.cross_timesteps import separate
from models.fixes.keyframes import mark_first_frame
from models.fixes.leading_bos import lead_with_bos
from models.fixes.schedule import set_shift


class Fix(StrEnum):
    """One place where rendering follows Lightricks' pipelines instead of diffusers. See the table in models/fixes."""

    SCHEDULE = "schedule"
    """The noise levels of a base checkpoint do not depend on the size of the video."""
    VOCODER = "vocoder"
    """A vocoder with bandwidth extension is built and run in float32."""
    CROSS_TIMESTEPS = "cross_timesteps"
    """Each token's own timestep modulates the audio-video cross-attention; the other modality's sigma gates it."""
    KEYFRAMES = "keyframes"
    """The first latent frame is marked as one that holds a single frame."""
    LEADING_BOS = "leading_bos"
    """A text begins with the tokenizer's BOS."""
    ANCESTRAL = "ancestral"
    """The sampler of the distilled LTX-2.5 adds new noise after each step."""


ALL = frozenset(Fix)
NONE: frozenset[Fix] = frozenset()


def install(pipe: Any, fixes: Collection[Fix], *, distilled: bool) -> None:
    """Install `fixes` on `pipe`, permanently. The vocoder fix is not among them: `load_vocoder` applies it at load."""
    set_shift(pipe, distilled=distilled, fixed=Fix.SCHEDULE in fixes)
    if distilled and Fix.ANCESTRAL in fixes:
        use_ancestral(pipe)
    if Fix.CROSS_TIMESTEPS in fixes:
        separate(pipe.transformer)
    if Fix.KEYFRAMES in fixes:
        mark_first_frame(pipe.transformer)
    if Fix.LEADING_BOS in fixes:
        lead_with_bos(pipe.tokenizer)
