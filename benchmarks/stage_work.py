"""Counts the work of two stages against one, at LTX-2's full size without a GPU: the transformer's matrix products.

    python -m benchmarks.stage_work [--family 2.0]

Tensors are shapes, as in `benchmarks.peak_memory`. Each kind of call is counted once, for one row, with two blocks: all
blocks do the same. A guided step has four calls: the prompt, the negative prompt, spatiotemporal guidance and modality
isolation. The last one skips the attention between video and audio. The second stage of a base model has a LoRA on each
linear layer of the blocks.

Text, VAE and the upsampler are not counted. The upsampler adds 0.02 PFLOP at 1088x1920.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.full_size import FULL_SIZE, draw
from benchmarks.live_bytes import LiveBytes
from models.checkpoint.profile import BLOCKS_OF_LTX2, DISTILLED_SIGMAS, REFINING_SIGMAS, STEPS, Family, choose_profile
from models.lora.lora_linear import LoraLinear
from models.ltx2.refine import first_stage
from models.memory.estimate import audio_tokens, video_tokens
from models.request.request import FRAMES_PER_LATENT, PIXELS_PER_LATENT, VideoRequest

BLOCKS = 2
RANK = 384
"""Of Lightricks' distilled LoRAs of LTX-2 and LTX-2.3."""
TEXT_TOKENS = 1024
PLAIN_CALLS = 3
"""The calls of a guided step that are as one without guidance."""
PETA = 10**15
SIZES = ((512, 768, 121), (1088, 1920, 121))
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001  # torch counts only the GPU's


@dataclass(frozen=True)
class Work:
    """The operations of the calls of one row: plain, with isolated modalities, and with the LoRA."""

    plain: int
    isolated: int
    refining: int

    @property
    def guided_step(self) -> int:
        """All four calls of a guided step."""
        return PLAIN_CALLS * self.plain + self.isolated


class Counter:
    """The transformer of one family, with shapes instead of tensors."""

    def __init__(self, family: Family) -> None:
        self._config = {**FULL_SIZE[family]["transformer"], "num_layers": BLOCKS}
        self._cross_timestep = choose_profile(self._config).use_cross_timestep
        self._shapes = LiveBytes()
        with self._shapes.counting():
            self._transformer: Any = draw(LTX2VideoTransformer3DModel, "cpu", self._config, fill=False)

    def count(self, request: VideoRequest) -> Work:
        """Count the calls of a request's size. Adds the LoRA for the last one."""
        plain, isolated = self._call(request), self._call(request, isolate_modalities=True)
        layers = self._add_lora()
        refining = self._call(request)
        for parent, name, layer in layers:
            setattr(parent, name, layer)
        return Work(plain, isolated, refining)

    def _call(self, request: VideoRequest, **more: Any) -> int:
        counter = FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: _attention})
        with self._shapes.counting(), counter:
            self._transformer(**self._inputs(request), **more, return_dict=False)
        block = counter.get_flop_counts()[f"{type(self._transformer).__name__}.transformer_blocks.1"]
        return int(counter.get_total_flops() + (BLOCKS_OF_LTX2 - BLOCKS) * sum(block.values()))

    def _inputs(self, request: VideoRequest) -> dict[str, Any]:
        config = self._transformer.config
        video_width = config.num_attention_heads * config.attention_head_dim
        audio_width = config.audio_num_attention_heads * config.audio_attention_head_dim
        widths = (video_width, audio_width)
        if self._config.get("use_prompt_embeddings", True):
            widths = (config.caption_channels, config.caption_channels)
        return {
            "hidden_states": _shape(1, video_tokens(request), config.in_channels),
            "audio_hidden_states": _shape(1, audio_tokens(request), config.audio_in_channels),
            "encoder_hidden_states": _shape(1, TEXT_TOKENS, widths[0]),
            "audio_encoder_hidden_states": _shape(1, TEXT_TOKENS, widths[1]),
            "timestep": torch.ones(1),
            "sigma": torch.ones(1),
            "num_frames": (request.num_rendered_frames - 1) // FRAMES_PER_LATENT + 1,
            "height": request.height // PIXELS_PER_LATENT,
            "width": request.width // PIXELS_PER_LATENT,
            "audio_num_frames": audio_tokens(request),
            "use_cross_timestep": self._cross_timestep,
        }

    def _add_lora(self) -> list[tuple[nn.Module, str, nn.Module]]:
        """Give each linear layer of the blocks a LoRA. Returns the layers, and where they were."""
        blocks = self._transformer.transformer_blocks
        found = [
            (parent, name, layer)
            for parent in blocks.modules()
            for name, layer in parent.named_children()
            if isinstance(layer, nn.Linear)
        ]
        with self._shapes.counting():
            for parent, name, layer in found:
                pair = _shape(RANK, layer.in_features), _shape(layer.out_features, RANK)
                setattr(parent, name, LoraLinear(layer, *pair))
        return found


def _shape(*sides: int) -> torch.Tensor:
    return torch.empty(sides, dtype=torch.bfloat16)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def compare(family: Family) -> Iterator[str]:
    """One line for each size and kind of checkpoint."""
    counter, steps = Counter(family), {"distilled": len(DISTILLED_SIGMAS), "guided": STEPS[family]}
    for height, width, num_frames in SIZES:
        request = VideoRequest(prompt="a", height=height, width=width, num_frames=num_frames)
        full, half = counter.count(request), counter.count(first_stage(request))
        for kind, count in steps.items():
            guided = kind == "guided"
            one = count * (full.guided_step if guided else full.plain)
            first = count * (half.guided_step if guided else half.plain)
            second = len(REFINING_SIGMAS) * (full.refining if guided else full.plain)
            yield (
                f"{width}x{height}x{num_frames} {kind:<9}  one stage {one / PETA:.1f}  first {first / PETA:.2f}  "
                f"second {second / PETA:.2f}  both {(first + second) / PETA:.2f} PFLOP  {(first + second) / one:.1%}"
            )


def main() -> None:
    """Print the table of one family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", type=Family, choices=list(Family), default=Family.LTX_2_3)
    for line in compare(parser.parse_args().family):
        print(line, flush=True)


if __name__ == "__main__":
    main()
