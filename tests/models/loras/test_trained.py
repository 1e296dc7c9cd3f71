"""A LoRA that is trained here acts, and as much as its scale says. It draws yellow where the prompt says red."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoint.locate import DEMO_FOLDER
from models.conditions import NO_CONDITIONS
from models.lora.lora_linear import LoraLinear
from models.lora.source import LoraSource
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.names import DEMO
from tests.models.conftest import ignore
from tests.models.loras.conftest import Pairs, by_diffusers, save
from training.audio_vae import encode_tones
from training.evaluate import request_for
from training.given import Given
from training.latents import encode_clip
from training.prompts import describe
from training.run import create_parts
from training.stage import Plan
from training.transformer import Data, count_audio_tokens, make_batch, predict
from training.world import Motion, Place, Scene, Shape, Size, Tone

SIZE = Size(256, 256, 9)
RED = Scene(Shape.CIRCLE, "red", "blue", Motion.STILL, Tone.LOW)
LAYERS = ("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
RANK = 4
STEPS = 60
LEARNING_RATE = 5e-3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ltx2Model]:
    folder = tmp_path_factory.mktemp("lora")
    file = save(by_diffusers(train(folder)), folder / "yellow.safetensors")
    loaded = Ltx2Model.load(DEMO, "cpu", folder, ignore, LoadOptions(loras=(LoraSource("yellow", file),)))
    loaded.profile = replace(loaded.profile, tiny=False)  # no label on the frames
    yield loaded
    loaded.close()


def train(folder: Path) -> Pairs:
    """Train a LoRA on clips of a yellow circle whose prompts say that it is red."""
    torch.set_num_threads(1)
    parts = create_parts(Plan(folder, seed=1, device="cpu"), DEMO_FOLDER)
    networks, video_vae = parts["transformer"].network, parts["video_vae"].network
    tones = encode_tones(parts["audio_vae"].network)
    data = Data(None, video_vae.latents_mean, video_vae.latents_std, tones)  # type: ignore[arg-type]
    rng = random.Random(1)
    yellow = encode_clip(video_vae, replace(RED, color="yellow"), SIZE, Place.MIDDLE, rng)
    clips = [replace(yellow, scene=RED)] * 4
    layers = wrap(networks.transformer)
    optimizer = torch.optim.Adam(
        [matrix for layer in layers.values() for matrix in (layer.down, layer.up)], LEARNING_RATE
    )
    nothing = Given(torch.zeros(SIZE.latent[0]), torch.zeros(count_audio_tokens(SIZE)), image=False)
    for _ in range(STEPS):
        batch = make_batch(nothing, clips, data, rng, "cpu")
        video, _audio = predict(networks, batch, 1.0, rng)
        loss = (video - batch.video_velocity).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: (layer.down.detach(), layer.up.detach()) for name, layer in layers.items()}


def wrap(transformer: Any) -> dict[str, LoraLinear]:
    """Freeze a transformer and give its layers a LoRA to train, which begins as zero."""
    transformer.requires_grad_(False)
    wrapped = {}
    for block in range(len(transformer.transformer_blocks)):
        for part in LAYERS:
            name = f"transformer_blocks.{block}.{part}"
            layer = transformer.get_submodule(name)
            down = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
            wrapped[name] = LoraLinear(layer, down, nn.Parameter(torch.zeros(layer.out_features, RANK)))
            transformer.set_submodule(name, wrapped[name])
    return wrapped


def test_a_trained_lora_acts_as_much_as_its_scale_says(model: Ltx2Model) -> None:
    def green_of_shape(**fields: object) -> float:
        """Green in the middle of the shape, 0 to 255: little of it is red, much is yellow."""
        clip = model.render(
            request_for(describe(RED), SIZE, num_inference_steps=8, seed=3, **fields), NO_CONDITIONS, ignore
        )
        return float(np.median(clip.frames[4, 120:136, 120:136, 1]))

    greens = [green_of_shape(loras=[{"name": "yellow", "scale": scale}]) for scale in (0.0, 0.5, 1.0)]
    assert greens[0] == green_of_shape()
    assert greens[0] + 80 < greens[1] < greens[2] - 5  # 38, 143 and 202
