"""The names of the fixes. Does not import torch."""

from enum import StrEnum


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
