"""Encodes prompts for the training in as many tokens as they have words.

The pipeline pads every prompt to 1,024 tokens and the connectors replace the padding with registers. A few registers
fill all of it, so that each stands there many times. Attention to n equal tokens is attention to one with log(n) added
to its score. Here each register stands once, with that bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.ltx2.connectors import per_layer_masked_mean_norm
from torch import Tensor

from training.architecture import REGISTERS, TEXT_TOKENS

MASKED = -10_000.0


@dataclass(frozen=True)
class EncodedText:
    """What the transformer reads: a sequence for each modality (prompts, tokens, width), and a bias.

    The bias is (prompts, 1, tokens), added to the scores of the cross-attention.
    """

    video: Tensor
    audio: Tensor
    bias: Tensor


def encode_prompts(
    tokenizer: Any, language_model: Any, connectors: Any, prompts: Sequence[str], register_weight: float = 1.0
) -> EncodedText:
    """Encode `prompts`. `register_weight` below 1 weakens the registers, which else drown the words at first."""
    device = connectors.text_proj_in.weight.device
    batch = tokenizer(list(prompts), padding=True, truncation=True, max_length=TEXT_TOKENS, return_tensors="pt")
    batch = batch.to(device)
    words = batch.attention_mask.sum(-1)
    states = language_model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
    ).hidden_states
    normed = per_layer_masked_mean_norm(torch.stack(states, dim=-1), words, device=device, padding_side="left")
    projected = connectors.text_proj_in(normed)
    masked = (1 - batch.attention_mask.float()) * MASKED
    bias = torch.cat([masked, register_weight * _count_registers(words).clamp(min=1e-6).log()], 1).unsqueeze(1)
    video, audio = (
        connector.norm_out(torch.cat([projected, connector.learnable_registers.expand(len(prompts), -1, -1)], 1))
        for connector in (connectors.video_connector, connectors.audio_connector)
    )
    return EncodedText(video, audio, bias)


def _count_registers(words: Tensor) -> Tensor:
    """How often each register stands in the padding of a prompt: (prompts, registers)."""
    position = torch.arange(TEXT_TOKENS, device=words.device)
    padding = position >= words[:, None]
    return torch.stack([(padding & (position % REGISTERS == k)).sum(1) for k in range(REGISTERS)], 1).float()
