"""Third stage: the transformer, the text encoder and the connectors together, by flow matching on encoded clips."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.fixes.schedule import SHIFT, SHIFTED
from training.architecture import LAYERS, build_connectors, build_text_encoder, build_transformer
from training.audio_vae import encode_tones
from training.given import Given, draw_given
from training.latents import EncodedClip, LatentPool
from training.optimizer import Trained
from training.prompts import build_tokenizer, write_empty_prompt, write_prompt
from training.text import encode_prompts
from training.world import FRAME_RATE, TOKEN_PX, Size, Tone

WEIGHT_DECAY = 0.01
WARM_UP_STEPS = 40
DECAY_SHARE = 0.3
"""The learning rate falls to zero over this last share of the steps."""
GROWTH_SHARE = 0.6
"""With small clips first, the share of the steps after which clips of all sizes have their full shares."""
REGISTER_STEPS = 100
"""Steps in which the registers get their full weight."""
FIRST_CLIPS = 0.15
"""Share of the pool that is encoded before the first step."""
POOL_STEPS = 3000
"""The rest is encoded little by little, as fast as this many steps would fill the whole pool."""
EMPTY_PROMPTS = 0.2
"""Share of prompts that describe nothing."""
PERTURBED = 0.08
"""Share of batches that train the weak prediction of guidance, with the last block perturbed. Untrained, guidance would
subtract garbage."""
ON_SCHEDULE = 0.75
"""Share of noise levels drawn as the server's sampler visits them. The others spread over all levels."""
SHAPE_WEIGHT, BACKGROUND_WEIGHT = 4.0, 0.6
"""Weights of the tokens that hold the shape and of those that hold background alone."""
AUDIO_WEIGHT = 0.5
AUDIO_TOKENS_PER_S = 25
SMALL_PARAMETERS = ("embed_tokens", "registers", "table")
"""Matrices that Adam updates: rows of a table are no linear map."""


class Networks(nn.Module):
    """The three networks that train together."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = build_tokenizer()
        whole = build_text_encoder(len(self.tokenizer))
        self.language_model = whole.model.language_model
        self.connectors = build_connectors()
        self.transformer = build_transformer()


@dataclass(frozen=True)
class Data:
    """What a step reads: encoded clips, their channels' mean and std, and the tones' tokens."""

    pool: LatentPool
    mean: Tensor
    std: Tensor
    tones: Mapping[Tone, Tensor]


def create(device: str, learning_rate: float) -> Trained:
    """The networks with weights to begin with, and their optimizer."""
    networks = Networks()
    _initialize(networks.transformer)
    return Trained(networks.to(device), learning_rate, adam=SMALL_PARAMETERS, weight_decay=WEIGHT_DECAY)


def prepare_data(pool: LatentPool, video_vae: Any, audio_vae: Any) -> Data:
    """Encode the first clips and the tones, and write the latent statistics into both VAEs.

    A video VAE from a checkpoint keeps its statistics, which its transformer was trained with.
    """
    pool.fill(FIRST_CLIPS)
    if bool((video_vae.latents_std == 1).all()):
        mean, std = pool.measure(FIRST_CLIPS)
        with torch.no_grad():
            video_vae.latents_mean.copy_(mean)
            video_vae.latents_std.copy_(std)
    return Data(pool, video_vae.latents_mean.cpu(), video_vae.latents_std.cpu(), encode_tones(audio_vae))


@torch.no_grad()
def _initialize(transformer: Any) -> None:
    """Replace diffusers' random gates: open for attention and feed-forward, shut between the modalities.

    In this world the prompt decides picture and tone, and neither tells of the other. The time embeddings begin at
    zero, so that no noise level is scaled at random.
    """
    for embed in (
        transformer.time_embed,
        transformer.audio_time_embed,
        transformer.av_cross_attn_video_scale_shift,
        transformer.av_cross_attn_audio_scale_shift,
        transformer.av_cross_attn_video_a2v_gate,
        transformer.av_cross_attn_audio_v2a_gate,
    ):
        embed.linear.weight.zero_()
        embed.linear.bias.zero_()
    for block in transformer.transformer_blocks:
        _initialize_block(block)
    transformer.scale_shift_table.zero_()
    transformer.audio_scale_shift_table.zero_()
    for projection in (transformer.proj_out, transformer.audio_proj_out):
        projection.weight.mul_(0.1)
        projection.bias.zero_()


def _initialize_block(block: Any) -> None:
    for table in (block.scale_shift_table, block.audio_scale_shift_table):
        table.zero_()
        table[2] = table[5] = 1  # the gates of self-attention and feed-forward
    for unused in (
        block.video_a2v_cross_attn_scale_shift_table,
        block.audio_a2v_cross_attn_scale_shift_table,
        *block.audio_to_video_attn.parameters(),
        *block.video_to_audio_attn.parameters(),
    ):
        unused.zero_()
    for attention in (block.attn1, block.audio_attn1, block.attn2, block.audio_attn2):
        attention.to_out[0].weight.mul_(0.5)
        attention.norm_q.weight.fill_(1.4)
        attention.norm_k.weight.fill_(1.4)


def train_step(
    trained: Trained, rng: random.Random, data: Data, device: str, steps: int, *, small_first: bool
) -> dict[str, float]:
    """Do one step of `steps`. Returns the mean squared errors of the video's and the audio's velocity.

    With `small_first` most clips are small at the beginning, as weights that know nothing yet want.
    """
    bucket = data.pool.draw_bucket(rng, favor_small(trained.step, steps) if small_first else 0.0)
    given = draw_given(bucket.size.latent[0], count_audio_tokens(bucket.size), rng)
    clips = data.pool.draw(bucket, given.place, rng, FIRST_CLIPS + trained.step / POOL_STEPS)
    batch = make_batch(given, clips, data, rng, device)
    register_weight = min(1.0, 0.25 + trained.step / REGISTER_STEPS)
    video, audio = predict(trained.network, batch, register_weight, rng)
    error = (video - batch.video_velocity).pow(2).mean(-1)
    weights = batch.weights * (batch.video_sigma > 0)
    video_loss = (error * weights).sum() / weights.sum().clamp(min=1)
    heard = (batch.audio_sigma > 0).float()
    audio_loss = ((audio - batch.audio_velocity).pow(2).mean(-1) * heard).sum() / heard.sum().clamp(min=1)
    trained.update(video_loss + AUDIO_WEIGHT * audio_loss, lr_scale(trained.step, steps))
    return {"video": video_loss.item(), "audio": audio_loss.item()}


def favor_small(step: int, steps: int) -> float:
    """How much a run from nothing prefers small clips at `step`: from 1 to 0. See `LatentPool.draw_bucket`."""
    return max(0.0, 1 - step / (GROWTH_SHARE * steps))


def lr_scale(step: int, steps: int) -> float:
    """The learning rate at `step` as a share of the highest."""
    left = (steps - step) / (DECAY_SHARE * steps)
    return min(1.0, (step + 1) / WARM_UP_STEPS, left)


@dataclass(frozen=True)
class Batch:
    """Noisy tokens (clips, tokens, channels), their velocities, their noise levels and the prompts.

    `video_sigma` and `audio_sigma` (clips, tokens) are 0 where a token is given. The video's tokens may be followed by
    those of an image, which is given for the frame `image_frames` (clips,); else that is None.
    """

    latent: tuple[int, int, int]
    prompts: list[str]
    video_sigma: Tensor
    audio_sigma: Tensor
    image_frames: Tensor | None
    video: Tensor
    video_velocity: Tensor
    weights: Tensor
    audio: Tensor
    audio_velocity: Tensor


def count_audio_tokens(size: Size) -> int:
    """Audio tokens of a clip."""
    return round(size.frames / FRAME_RATE * AUDIO_TOKENS_PER_S)


def make_batch(given: Given, clips: list[EncodedClip], data: Data, rng: random.Random, device: str) -> Batch:
    """Add noise to what is not given of `clips`, which have one size, and write their prompts."""
    frames, rows, columns = latent = clips[0].holds_shape.shape
    video = _normalize(torch.stack([clip.latents for clip in clips]), data)
    audio = torch.stack([data.tones[clip.scene.tone][: len(given.audio)] for clip in clips])
    sigma = draw_sigmas(len(clips))[:, None]
    video_sigma = sigma * (1 - given.frames[:, None, None].expand(latent).flatten())
    audio_sigma = sigma * (1 - given.audio)
    if given.variant:
        variants = _normalize(torch.stack([clip.variant for clip in clips if clip.variant is not None]), data)
        video = torch.where(video_sigma[..., None] == 0, variants, video)
    shape = torch.stack([clip.holds_shape.flatten() for clip in clips]).float()
    if given.image:
        images = _normalize(torch.stack([clip.image for clip in clips]), data)
        video, still = torch.cat([video, images], 1), torch.zeros(images.shape[:2])
        video_sigma, shape = torch.cat([video_sigma, still], 1), torch.cat([shape, still], 1)
    noise, audio_noise = torch.randn(video.shape), torch.randn(audio.shape)
    return Batch(
        (frames, rows, columns),
        [write_empty_prompt(rng) if rng.random() < EMPTY_PROMPTS else write_prompt(clip.scene, rng) for clip in clips],
        video_sigma.to(device),
        audio_sigma.to(device),
        torch.tensor([clip.image_frame for clip in clips], device=device) if given.image else None,
        torch.lerp(video, noise, video_sigma[..., None]).to(device),
        (noise - video).to(device),
        (BACKGROUND_WEIGHT + (SHAPE_WEIGHT - BACKGROUND_WEIGHT) * shape).to(device),
        torch.lerp(audio, audio_noise, audio_sigma[..., None]).to(device),
        (audio_noise - audio).to(device),
    )


def _normalize(latents: Tensor, data: Data) -> Tensor:
    """Latents (clips, channels, frames, rows, columns) as the transformer's tokens."""
    normal = (latents - data.mean.view(-1, 1, 1, 1)) / data.std.view(-1, 1, 1, 1)
    return normal.flatten(2).transpose(1, 2)


def draw_sigmas(count: int) -> Tensor:
    """Noise levels: most as the server's sampler visits them, the others spread over all levels."""
    time = torch.rand(count).clamp(min=0.02)
    scheduled = _shift(time)
    last = _shift(torch.tensor(0.025))
    stretched = 1 - (1 - scheduled) * (1 - float(SHIFTED["shift_terminal"])) / (1 - last)
    spread = torch.sigmoid(torch.randn(count) * 1.2 + 0.3)
    return torch.where(torch.rand(count) < ON_SCHEDULE, stretched, spread).clamp(0.02, 1.0)


def _shift(time: Tensor) -> Tensor:
    factor = math.exp(SHIFT)
    return factor * time / (1 + (factor - 1) * time)


def predict(networks: Any, batch: Batch, register_weight: float, rng: random.Random) -> tuple[Tensor, Tensor]:
    """The predicted velocities of video and audio tokens. Sometimes with guidance's perturbation."""
    text = encode_prompts(
        networks.tokenizer, networks.language_model, networks.connectors, batch.prompts, register_weight
    )
    perturbed = rng.random() < PERTURBED
    frames, rows, columns = batch.latent
    video, audio = networks.transformer(
        hidden_states=batch.video,
        audio_hidden_states=batch.audio,
        encoder_hidden_states=text.video,
        audio_encoder_hidden_states=text.audio,
        timestep=batch.video_sigma * 1000,
        audio_timestep=batch.audio_sigma * 1000,
        sigma=batch.video_sigma.amax(1) * 1000,
        audio_sigma=batch.audio_sigma.amax(1) * 1000,
        encoder_attention_mask=text.bias,
        audio_encoder_attention_mask=text.bias,
        num_frames=frames,
        height=rows,
        width=columns,
        fps=FRAME_RATE,
        video_coords=_coordinates(networks.transformer.rope, batch),
        audio_num_frames=batch.audio.shape[1],
        isolate_modalities=True,  # their gates are shut
        spatio_temporal_guidance_blocks=[LAYERS - 1] if perturbed else None,
        use_cross_timestep=False,
        return_dict=False,
    )
    return video, audio


def _coordinates(rope: Any, batch: Batch) -> Tensor:
    """Where each token lies, from and to: seconds, and pixels down and across (clips, 3, tokens, 2)."""
    frames, rows, columns = batch.latent
    clips, device = len(batch.video), batch.video.device
    video: Tensor = rope.prepare_video_coords(clips, frames, rows, columns, device, fps=FRAME_RATE)
    if batch.image_frames is None:
        return video
    image = torch.zeros(clips, 3, rows, columns, 2, device=device)
    until = torch.arange(2, device=device)
    image[:, 0] = (batch.image_frames[:, None, None, None] + until) / FRAME_RATE
    image[:, 1] = (torch.arange(rows, device=device)[:, None, None] + until) * TOKEN_PX
    image[:, 2] = (torch.arange(columns, device=device)[:, None] + until) * TOKEN_PX
    return torch.cat([video, image.flatten(2, 3)], 2)
