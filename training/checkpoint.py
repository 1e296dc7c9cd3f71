"""Writes the trained parts as a diffusers checkpoint in float16, and reads their weights back."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.architecture import build_scheduler, build_text_encoder, build_vocoder
from training.tones import set_vocoder


def export_checkpoint(folder: Path, networks: Mapping[str, Any]) -> None:
    """Write the networks "video_vae", "audio_vae" and "transformer" (which holds the text's too) to `folder`."""
    from diffusers import LTX2Pipeline

    trained = networks["transformer"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # its vision tower stays random; no pipeline runs it
        text_encoder = build_text_encoder(len(trained.tokenizer))
    text_encoder.model.language_model.load_state_dict(trained.language_model.state_dict())
    text_encoder.tie_weights()
    vocoder = build_vocoder()
    set_vocoder(vocoder)
    components = {
        "vae": networks["video_vae"],
        "audio_vae": networks["audio_vae"],
        "transformer": trained.transformer,
        "connectors": trained.connectors,
        "vocoder": vocoder,
        "text_encoder": text_encoder,
    }
    halves = {name: _to_half(component) for name, component in components.items()}
    pipe = LTX2Pipeline(**halves, tokenizer=trained.tokenizer, scheduler=build_scheduler())
    pipe.save_pretrained(folder, safe_serialization=True)


def _to_half(component: Any) -> Any:
    return copy.deepcopy(component).cpu().to(dtype=torch.float16, memory_format=torch.contiguous_format)


def load_weights(folder: Path, networks: Mapping[str, Any]) -> None:
    """Load a checkpoint's weights into the networks that `export_checkpoint` takes. Raises OSError without a file."""
    from safetensors.torch import load_file

    def read(component: str, file: str = "diffusion_pytorch_model.safetensors") -> dict[str, torch.Tensor]:
        return {name: weight.float() for name, weight in load_file(folder / component / file).items()}

    networks["video_vae"].load_state_dict(read("vae"))
    networks["audio_vae"].load_state_dict(read("audio_vae"))
    trained = networks["transformer"]
    trained.transformer.load_state_dict(read("transformer"))
    trained.connectors.load_state_dict(read("connectors"))
    prefix = "language_model."
    text = read("text_encoder", "model.safetensors")
    trained.language_model.load_state_dict(
        {name.split(prefix, 1)[1].removeprefix("model."): weight for name, weight in text.items() if prefix in name}
    )
