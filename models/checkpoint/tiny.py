"""Builds the tiny model: an LTX-2 with random weights, small enough for two CPU cores.

Every component, class and compression ratio is that of LTX-2 (19B); only the number of layers and the width are
smaller. It runs the same code, with the same steps and guidance passes, and its videos are noise. Does not import Ray,
an HTTP framework or the storage package.

At 512x768, 121 frames (6,144 video tokens) two parts dominate the time:
- Self-attention, with one head of 16. It is the reason for a single block.
- The last stage of the video decoder. It is the reason for its 4 channels.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.checkpoint.new_folder import new_folder
from models.names import TINY_MODEL_NAME
from models.startup.hidden_packages import HIDDEN_PACKAGES, hide_modules

if TYPE_CHECKING:
    from torch import nn

RECIPE_VERSION = 1
"""Part of the folder's name. Increase it with every change below, or an old folder is used for the new model."""
SEED = 19

TEXT_WIDTH = 16
TEXT_LAYERS = 2
TEXT_TOKENS = 1024
WIDTH = 16
VIDEO_LATENT_CHANNELS = 16
AUDIO_LATENT_CHANNELS = 2
MEL_BINS = 64
AUDIO_COMPRESSION = 4
AUDIO_TOKEN_CHANNELS = AUDIO_LATENT_CHANNELS * MEL_BINS // AUDIO_COMPRESSION
TOKEN_ROLES = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
SPECIAL_TOKENS = (*TOKEN_ROLES.values(), "<image_soft_token>", "<start_of_image>", "<end_of_image>")
VOCABULARY_SIZE = len(SPECIAL_TOKENS) + 256

TRANSFORMER = {
    "in_channels": VIDEO_LATENT_CHANNELS,
    "out_channels": VIDEO_LATENT_CHANNELS,
    "num_attention_heads": 1,
    "attention_head_dim": WIDTH,
    "cross_attention_dim": WIDTH,
    "audio_in_channels": AUDIO_TOKEN_CHANNELS,
    "audio_out_channels": AUDIO_TOKEN_CHANNELS,
    "audio_num_attention_heads": 1,
    "audio_attention_head_dim": WIDTH,
    "audio_cross_attention_dim": WIDTH,
    "num_layers": 1,
    "caption_channels": TEXT_WIDTH,
    "perturbed_attn": True,
}
CONNECTORS = {
    "caption_channels": TEXT_WIDTH,
    "text_proj_in_factor": TEXT_LAYERS + 1,
    "video_connector_num_attention_heads": 1,
    "video_connector_attention_head_dim": TEXT_WIDTH,
    "video_connector_num_layers": 1,
    "audio_connector_num_attention_heads": 1,
    "audio_connector_attention_head_dim": TEXT_WIDTH,
    "audio_connector_num_layers": 1,
}
VIDEO_VAE = {
    "latent_channels": VIDEO_LATENT_CHANNELS,
    "block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1),
    "decoder_spatial_padding_mode": "zeros",
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
AUDIO_VAE = {
    "base_channels": AUDIO_TOKEN_CHANNELS,
    "ch_mult": (1, 1, 1),
    "num_res_blocks": 1,
    "latent_channels": AUDIO_LATENT_CHANNELS,
    "mel_bins": MEL_BINS,
}
UPSAMPLER = {"in_channels": VIDEO_LATENT_CHANNELS, "mid_channels": 32, "num_blocks_per_stage": 1}
"""A latent upsampler for it, which the tiny model itself does not use: it is not distilled."""
VOCODER = {"in_channels": 2 * MEL_BINS, "hidden_channels": 64, "output_sampling_rate": 24_000}
_ONE_LAYER = {"num_attention_heads": 1, "intermediate_size": TEXT_WIDTH, "num_hidden_layers": 1}
TEXT_ENCODER: dict[str, Any] = {
    "text_config": {
        **_ONE_LAYER,
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_key_value_heads": 1,
        "head_dim": TEXT_WIDTH,
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
        "eos_token_id": SPECIAL_TOKENS.index("<eos>"),
        "bos_token_id": SPECIAL_TOKENS.index("<bos>"),
    },
    "vision_config": {**_ONE_LAYER, "hidden_size": TEXT_WIDTH, "image_size": 28, "patch_size": 14},
    "mm_tokens_per_image": 4,
    "image_token_index": SPECIAL_TOKENS.index("<image_soft_token>"),
    "boi_token_index": SPECIAL_TOKENS.index("<start_of_image>"),
    "eoi_token_index": SPECIAL_TOKENS.index("<end_of_image>"),
}
SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}
"""The values of LTX-2."""


def tiny_folder(folder: Path) -> Path:
    """The folder of the tiny model under `folder`. It may not exist yet."""
    return folder / f"{TINY_MODEL_NAME}-v{RECIPE_VERSION}"


def build_tiny(folder: Path) -> Path:
    """Build the tiny model under `folder`, unless it exists, and return its folder.

    Two processes may call this at once: each writes its own folder and the first to rename it wins. The other result,
    equal bit for bit, is discarded. Raises OSError if the folder cannot be written.
    """
    target = tiny_folder(folder)
    if target.exists():
        return target
    with new_folder(target) as draft, hide_modules(HIDDEN_PACKAGES):
        _write(draft)
    return target


def _write(folder: Path) -> None:
    """Write all components in the layout of diffusers' `save_pretrained`."""
    import torch
    from diffusers import LTX2Pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        components: dict[str, Any] = {
            "tokenizer": byte_tokenizer(),
            "text_encoder": _text_encoder(),
            **_diffusers_components(),
        }
    rng = np.random.default_rng(SEED)
    for name in ("text_encoder", "connectors", "transformer", "vae", "audio_vae", "vocoder"):
        _draw_weights(components[name], rng)
    LTX2Pipeline(**components).save_pretrained(folder)


def _diffusers_components() -> dict[str, Any]:
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        FlowMatchEulerDiscreteScheduler,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder

    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        "vae": AutoencoderKLLTX2Video(**VIDEO_VAE),
        "audio_vae": AutoencoderKLLTX2Audio(**AUDIO_VAE),
        "connectors": LTX2TextConnectors(**CONNECTORS),
        "transformer": LTX2VideoTransformer3DModel(**TRANSFORMER),
        "vocoder": LTX2Vocoder(**VOCODER),
    }


def _text_encoder() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    return Gemma3ForConditionalGeneration(Gemma3Config(**TEXT_ENCODER))


def byte_tokenizer() -> Any:
    """A tokenizer with one token per byte of text, so that different prompts have different tokens in any language."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=TEXT_TOKENS, padding_side="left", **TOKEN_ROLES
    )


def _draw_weights(component: "nn.Module", rng: np.random.Generator) -> None:
    """Fill a component's matrices with uniform noise of variance 1 / inputs, and its biases with zeros.

    numpy's generator returns the same numbers on every processor; torch's fast paths do not guarantee that.
    """
    import torch

    for name, parameter in component.named_parameters():
        if parameter.ndim > 1:
            bound = (3.0 / max(1, parameter[0].numel())) ** 0.5
            noise = (rng.random(tuple(parameter.shape), dtype=np.float32) * 2 - 1) * np.float32(bound)
            parameter.data = torch.from_numpy(noise)
        elif name.endswith("bias"):
            parameter.data.zero_()
