"""The configuration of every component of the demo model, and functions that build them with random weights.

Classes and compression ratios are those of LTX-2. The latent has 16 channels, not 128: a transformer narrower than its
latent cannot pass the noise through, which the velocity needs. `rope_theta` is 40: with diffusers' 10,000, half of so
few frequencies are constant over the whole video.
"""

from typing import Any

from models.checkpoint.tiny import SCHEDULER, SPECIAL_TOKENS, TOKEN_ROLES

VIDEO_LATENT_CHANNELS = 16
LAYERS = 3
WIDTH = 96
HEADS = 3
TEXT_WIDTH = 64
TEXT_HEADS = 2
TEXT_LAYERS = 2
TEXT_TOKENS = 1024
REGISTERS = 4
AUDIO_WIDTH = 64
AUDIO_HEADS = 2
AUDIO_LATENT_CHANNELS = 2
MEL_BINS = 64
AUDIO_COMPRESSION = 4
AUDIO_TOKEN_CHANNELS = AUDIO_LATENT_CHANNELS * MEL_BINS // AUDIO_COMPRESSION
SAMPLE_RATE_HZ = 24_000
MEL_HOP = 240
"""Samples in a frame of the spectrogram: 100 frames are a second."""
PARTIALS = 32
"""Sines of the vocoder."""

VIDEO_VAE: dict[str, Any] = {
    "latent_channels": VIDEO_LATENT_CHANNELS,
    "patch_size": 8,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("LTX2VideoDownBlock3D",) * 3,
    "downsample_type": ("temporal", "spatiotemporal", "spatiotemporal"),
    "layers_per_block": (0, 1, 1, 1),
    "spatio_temporal_scaling": (True, True, True),
    "decoder_block_out_channels": (32, 64, 128),
    "decoder_layers_per_block": (1, 1, 1, 0),
    "decoder_spatio_temporal_scaling": (True, True, True),
    "decoder_inject_noise": (False,) * 4,
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal"),
    "upsample_residual": (True, True, True),
    "upsample_factor": (1, 2, 2),
    "decoder_spatial_padding_mode": "zeros",
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
AUDIO_VAE: dict[str, Any] = {
    "base_channels": AUDIO_TOKEN_CHANNELS,
    "ch_mult": (1, 1, 1),
    "num_res_blocks": 1,
    "latent_channels": AUDIO_LATENT_CHANNELS,
    "mel_bins": MEL_BINS,
}
VOCODER: dict[str, Any] = {
    "in_channels": 2 * MEL_BINS,
    "hidden_channels": PARTIALS,
    "upsample_kernel_sizes": [2 * MEL_HOP],
    "upsample_factors": [MEL_HOP],
    "resnet_kernel_sizes": [3],
    "resnet_dilations": [[1]],
    "output_sampling_rate": SAMPLE_RATE_HZ,
    "final_act_fn": "clamp",
    "leaky_relu_negative_slope": 0.0,
}
TRANSFORMER: dict[str, Any] = {
    "in_channels": VIDEO_LATENT_CHANNELS,
    "out_channels": VIDEO_LATENT_CHANNELS,
    "num_attention_heads": HEADS,
    "attention_head_dim": WIDTH // HEADS,
    "cross_attention_dim": WIDTH,
    "audio_in_channels": AUDIO_TOKEN_CHANNELS,
    "audio_out_channels": AUDIO_TOKEN_CHANNELS,
    "audio_num_attention_heads": AUDIO_HEADS,
    "audio_attention_head_dim": AUDIO_WIDTH // AUDIO_HEADS,
    "audio_cross_attention_dim": AUDIO_WIDTH,
    "num_layers": LAYERS,
    "caption_channels": TEXT_WIDTH,
    "perturbed_attn": True,
    "rope_theta": 40.0,
}
_CONNECTOR = {
    "num_attention_heads": TEXT_HEADS,
    "attention_head_dim": TEXT_WIDTH // TEXT_HEADS,
    "num_layers": 0,
    "num_learnable_registers": REGISTERS,
}
CONNECTORS: dict[str, Any] = {
    "caption_channels": TEXT_WIDTH,
    "text_proj_in_factor": TEXT_LAYERS + 1,
    **{f"video_connector_{key}": value for key, value in _CONNECTOR.items()},
    **{f"audio_connector_{key}": value for key, value in _CONNECTOR.items()},
}


def build_video_vae() -> Any:
    """A video VAE with random weights."""
    from diffusers import AutoencoderKLLTX2Video

    return AutoencoderKLLTX2Video(**VIDEO_VAE)


def build_audio_vae() -> Any:
    """An audio VAE with random weights."""
    from diffusers import AutoencoderKLLTX2Audio

    return AutoencoderKLLTX2Audio(**AUDIO_VAE)


def build_vocoder() -> Any:
    """A vocoder with random weights."""
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    return LTX2Vocoder(**VOCODER)


def build_transformer() -> Any:
    """A transformer with random weights."""
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(**TRANSFORMER)


def build_connectors() -> Any:
    """Connectors without layers: they project the text and fill its padding with registers."""
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    return LTX2TextConnectors(**CONNECTORS)


def build_scheduler() -> Any:
    """The scheduler of LTX-2."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**SCHEDULER)


def build_text_encoder(vocabulary_size: int) -> Any:
    """A Gemma 3 with random weights."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "vocab_size": vocabulary_size,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": TEXT_HEADS,
        "num_key_value_heads": 1,
        "head_dim": TEXT_WIDTH // TEXT_HEADS,
        "query_pre_attn_scalar": TEXT_WIDTH // TEXT_HEADS,
        **{key.replace("_token", "_token_id"): SPECIAL_TOKENS.index(token) for key, token in _GEMMA_ROLES.items()},
    }
    vision = {
        "num_attention_heads": 1,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=SPECIAL_TOKENS.index("<image_soft_token>"),
        boi_token_index=SPECIAL_TOKENS.index("<start_of_image>"),
        eoi_token_index=SPECIAL_TOKENS.index("<end_of_image>"),
    )
    return Gemma3ForConditionalGeneration(config)


_GEMMA_ROLES = {key: token for key, token in TOKEN_ROLES.items() if key != "unk_token"}
