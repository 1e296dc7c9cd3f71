"""Lets each register of a text stand once, where the connectors only repeat them.

The connectors fill the padding of a text with a few registers, over and over. Where they have no layers, as those of
the demo, equal registers stay equal. Attention to n equal tokens is attention to one with log(n) added to its score.
"""

import math
from typing import Any

import torch
from torch import Tensor

from models.memory.replaced_forward import ReplacedForward

Outputs = tuple[Tensor, Tensor, Tensor]
"""The texts of video and audio (rows, tokens, width), and a mask (rows, tokens) or a bias (rows, 1, tokens)."""


def install_register_dedup(connectors: Any) -> bool:
    """Shorten what `connectors` return. Return False if they have layers, which make each register another token."""
    each = (connectors.video_connector, connectors.audio_connector)
    registers = each[0].num_learnable_registers
    if any(len(connector.transformer_blocks) for connector in each) or not registers:
        return False

    def shortened(*args: Any, **options: Any) -> Outputs:
        video, audio, mask = encode(*args, **options)
        return dedup_registers(video, audio, mask, registers)

    encode = ReplacedForward(connectors, shortened)
    return True


def dedup_registers(video: Tensor, audio: Tensor, mask: Tensor, registers: int) -> Outputs:
    """Cut texts where only whole rounds of `registers` follow, and give the last round the weight of all of them.

    Returns them as they are if they hold one round at most.
    """
    tokens = video.shape[1]
    start = max(_start_of_rounds(text, registers) for text in (video, audio))
    rounds = (tokens - start) // registers
    if rounds <= 1 or not bool((mask == 1).all()):
        return video, audio, mask
    kept = start + registers
    bias = torch.zeros(len(video), 1, kept, dtype=video.dtype, device=video.device)
    bias[..., start:] = math.log(rounds)
    return video[:, :kept], audio[:, :kept], bias


def _start_of_rounds(text: Tensor, registers: int) -> int:
    """The first multiple of `registers` from which each token of all rows equals the one a round later."""
    differs = (text[:, registers:] != text[:, :-registers]).any(-1).any(0).nonzero()
    end = int(differs[-1]) + 1 if len(differs) else 0
    return math.ceil(end / registers) * registers
