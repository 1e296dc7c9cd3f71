"""Selects another attention kernel for the video's self-attention, which has nearly all the work.

Only the processors of those layers are changed: the other attention layers are short, or have a mask.
"""

from typing import Any

CUDNN = "_native_cudnn"


def use_cudnn(transformer: Any) -> bool:
    """Use cuDNN's fused attention, through torch, for the video's self-attention."""
    use_backend(transformer, CUDNN)
    return True


def use_backend(transformer: Any, backend: str) -> None:
    """Use one of diffusers' attention backends for the video's self-attention."""
    for block in transformer.transformer_blocks:
        block.attn1.set_attention_backend(backend)
