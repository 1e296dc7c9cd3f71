"""The fixes by name. Knows no torch."""

from enum import StrEnum


class Fix(StrEnum):
    """A place where Lightricks' pipelines are followed and not diffusers; see the table of the package."""

    SCHEDULE = "schedule"
    """Noise levels of a base checkpoint do not depend on the size of the video."""
    VOCODER = "vocoder"
    """A vocoder with bandwidth extension is built and run in float32."""
    CROSS_TIMESTEPS = "cross_timesteps"
    """The audio-video cross-attention is modulated by each token's own timestep, and gated by the other's sigma."""
    KEYFRAMES = "keyframes"
    """The first latent frame is marked as one that holds a single frame."""
    LEADING_BOS = "leading_bos"
    """A text begins with the tokenizer's BOS."""
    ANCESTRAL = "ancestral"
    """Distilled LTX-2.5 takes noise back up after each step."""


ALL = frozenset(Fix)
NONE: frozenset[Fix] = frozenset()
