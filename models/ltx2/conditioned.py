"""The pipeline that keeps what is given: diffusers' condition pipeline, with places in frames and with our noise.

Two of its methods are replaced. Its denoising loop is used as it is: for each token, the timestep is the step's times
`1 - strength`, and the prediction is blended with the given latents. For the audio see models/ltx2/kept_audio.py.

- The first frame has a latent frame of its own, so its tokens are replaced. An image at any other frame is appended as
  tokens with the coordinates of that frame. diffusers counts latent frames instead, and can name only every eighth.
- A control video is appended as tokens with the coordinates of the video's own, as Lightricks' IC-LoRAs are trained.
- Of a clip, those latents are given whose frames all lie outside the part that is made anew. That part starts from
  noise, or from the clip's latents with the noise of a later step.
- A seed gives the noise of text-to-video and image-to-video. The noise of appended tokens has its own generator.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from diffusers import LTX2ConditionPipeline
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Generator, Tensor

from models.conditions import AudioCondition, ClipCondition, ControlCondition
from models.fixes.ancestral import SEEDS, AncestralEuler, KeptTokens
from models.ltx2.encode import encode_audio, encode_clip, encode_frames
from models.ltx2.kept_audio import KeepingScheduler, NoiseLevels
from models.ltx2.tokens import given_audio_latents, given_latent_frames
from models.request.places import FIRST, Place
from models.waveform import Waveform

SEED_OFFSET = 20_000
"""Added to a request's seed for the noise of appended tokens. Another noise begins at the seed itself, one at 10,000
more (see models/fixes/ancestral.py)."""


@dataclass(frozen=True)
class GivenImage:
    """An image of the video's size, compressed, for one frame of a video that keeps up to `num_frames` frames."""

    image: Image
    place: Place
    num_frames: int


@dataclass(frozen=True)
class GivenMedia:
    """What the pipeline is given: images, audio for the whole video, a clip in the frames of this render, a control.

    `report` is called before all of it is encoded.
    """

    images: Sequence[GivenImage] = ()
    audio: AudioCondition | None = None
    clip: ClipCondition | None = None
    control: ControlCondition | None = None
    report: Callable[[], None] = lambda: None


NOTHING = GivenMedia()


@dataclass(frozen=True)
class _Tokens:
    """The packed latents (1, tokens, channels) of an image or of a control video.

    They are appended, and `coordinates` (1, 3, tokens, 2) say where they are in the video: from and to, in seconds and
    pixels. Without coordinates they replace those of the first frame.
    """

    latents: Tensor
    strength: float
    coordinates: Tensor | None


class ConditionedPipeline(LTX2ConditionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Takes its `conditions` as one GivenMedia. Without any, it is text-to-video."""

    audio_scheduler: Any
    _given = NOTHING
    _levels: NoiseLevels
    _frames: tuple[int, Fraction]
    """The number of frames of the render, and their rate."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the pipeline, with the noise levels of what is given. Their hook comes before all others."""
        self._levels = NoiseLevels()
        hook = self.transformer.register_forward_pre_hook(self._levels.set, with_kwargs=True, prepend=True)
        try:
            return super().__call__(*args, **options)
        finally:
            hook.remove()
            self._given, self.audio_scheduler = NOTHING, None

    def prepare_latents(
        self,
        *,
        conditions: Sequence[GivenMedia] | None,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        num_frames: int,
        frame_rate: float,
        generator: Generator,
        dtype: torch.dtype,
        device: torch.device,
        noise_scale: float,
        latents: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The noisy tokens, the strength of each, the clean tokens, and the coordinates of the appended ones.

        `latents` are those that the second of two stages begins with. `noise_scale` is the first noise level. It is 1,
        unless the tokens start from them or from a clip.
        """
        shape = (
            batch_size,
            num_channels_latents,
            (num_frames - 1) // self.vae_temporal_compression_ratio + 1,
            height // self.vae_spatial_compression_ratio,
            width // self.vae_spatial_compression_ratio,
        )
        first = None if latents is None else self._first_tokens(latents)
        noise = _draw_noise(shape, first, self._pack_latents, generator=generator, device=device, dtype=dtype)
        self._given = conditions[0] if conditions else NOTHING
        self._frames = num_frames, Fraction(frame_rate)
        self._given.report()
        given = [self._encode(each, noise, num_frames, frame_rate) for each in self._given.images]
        if self._given.control is not None:
            given.append(self._encode_control(self._given.control, noise, num_frames, frame_rate))
        source, start = self._encode_clip(noise, num_frames, first)
        kept = _keep(
            given, source, torch.Generator("cpu").manual_seed((generator.initial_seed() + SEED_OFFSET) % SEEDS)
        )
        self._levels.video_is_whole = self._given.clip is not None and self._given.clip.edit.keeps_frames
        if isinstance(self.scheduler, AncestralEuler):
            self.scheduler.keep(kept)
        coordinates = [each.coordinates for each in given if each.coordinates is not None]
        if coordinates:
            missing = (batch_size, kept.clean.shape[1] - noise.shape[1], noise.shape[2])
            more = randn_tensor(missing, generator=kept.generator, device=device, dtype=dtype)
            noise = torch.cat([noise, more], dim=1)
        noisy = _mix(noise, kept, start, noise_scale)
        return noisy, kept.strength, kept.clean, torch.cat(coordinates, dim=2) if coordinates else None

    def prepare_audio_latents(
        self,
        batch_size: int,
        *,
        num_channels_latents: int,
        audio_latent_length: int,
        num_mel_bins: int,
        generator: Generator,
        dtype: torch.dtype,
        device: torch.device,
        noise_scale: float,
        latents: Tensor | None,
    ) -> Tensor:
        """The noise of the audio, drawn as text-to-video draws it, and in it the tokens that are given.

        For `noise_scale` see `prepare_latents`.
        """
        bins = num_mel_bins // self.audio_vae_mel_compression_ratio
        shape = (batch_size, num_channels_latents, audio_latent_length, bins)
        first = None if latents is None else self._audio_latent_tokens(latents)
        noise = _draw_noise(shape, first, self._pack_audio_latents, generator=generator, device=device, dtype=dtype)
        kept = self._keep_audio(noise, generator)
        start = self._audio_start(noise) if first is None else first.to(noise)
        if kept is None:
            return noise if start is None else noise * noise_scale + start * (1 - noise_scale)
        self.audio_scheduler = KeepingScheduler(copy.deepcopy(self.scheduler), kept)
        self._levels.keep_audio(kept.strength[..., 0])
        return _mix(noise, kept, start, noise_scale)

    def _first_tokens(self, latents: Tensor) -> Tensor:
        """The video's tokens of latents as the pipelines return them."""
        statistics = (self.vae.latents_mean, self.vae.latents_std, self.vae.config.scaling_factor)
        tokens: Tensor = self._pack_latents(self._normalize_latents(latents, *statistics))
        return tokens

    def _keep_audio(self, noise: Tensor, generator: Generator) -> KeptTokens | None:
        """The strength and the latents of each token of the audio. None if none is given."""
        strength, clip = torch.zeros_like(noise[..., :1]), self._given.clip
        if clip is not None and (clip.audio is not None or clip.edit.strength == 1):
            strength[:, given_audio_latents(clip.edit, noise.shape[1], self._frames[0])] = 1
            waveform = self._source_audio(clip)
        elif self._given.audio is not None and self._given.audio.strength > 0:
            strength[:] = self._given.audio.strength
            waveform = self._given.audio.waveform
        if not strength.any():
            return None
        return KeptTokens(strength, self._audio_tokens(waveform, noise), noise.shape[1], generator)

    def _audio_start(self, noise: Tensor) -> Tensor | None:
        """The tokens that audio starts from, if it starts from that of a clip: silence if the clip has none."""
        clip = self._given.clip
        if clip is None or not clip.edit.starts_from_source or (clip.edit.keeps_audio and clip.audio is not None):
            return None
        return self._audio_tokens(self._source_audio(clip), noise)

    def _source_audio(self, clip: ClipCondition) -> Waveform:
        """The audio of a clip in the time of this render. A clip without audio is silent."""
        num_frames, frame_rate = self._frames
        silence = Waveform(np.zeros((1, 1), np.float32), self.audio_sampling_rate)
        return (clip.audio or silence).placed(clip.edit.source_at / frame_rate, num_frames / frame_rate)

    def _audio_tokens(self, waveform: Waveform, noise: Tensor) -> Tensor:
        """The clean tokens of audio, as many as there are of `noise`."""
        return self._audio_latent_tokens(encode_audio(self, waveform, noise.shape[1], noise.device).to(noise.dtype))

    def _audio_latent_tokens(self, latents: Tensor) -> Tensor:
        """The audio's tokens of latents as the pipelines return them."""
        statistics = (self.audio_vae.latents_mean, self.audio_vae.latents_std)
        tokens: Tensor = self._normalize_audio_latents(self._pack_audio_latents(latents), *statistics)
        return tokens

    def _encode_clip(
        self, noise: Tensor, num_frames: int, first: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """The strength of each of the video's own tokens, with the latents of those that a clip gives.

        The second value are the tokens that the others start from: `first`, those of a first stage, or those of the
        clip; None if they start from noise alone. A clip of which no token is used is not encoded.
        """
        strength, clip = torch.zeros_like(noise[..., :1]), self._given.clip
        if clip is None:
            return (strength, torch.zeros_like(noise)), first
        kept = given_latent_frames(clip.edit, num_frames)
        strength.view(len(noise), len(kept), -1)[:, kept] = 1
        starts = first is None and clip.edit.starts_from_source
        if not any(kept) and not starts:
            return (strength, torch.zeros_like(noise)), first
        source = self._clip_tokens(clip, num_frames, noise)
        return (strength, source * strength), source if starts else first

    def _clip_tokens(self, clip: ClipCondition, num_frames: int, noise: Tensor) -> Tensor:
        """The clean tokens of a clip, in the render of `num_frames` frames."""
        latents = encode_clip(self.vae, clip, num_frames, noise.device).to(noise.dtype)
        latents = self._normalize_latents(latents, self.vae.latents_mean, self.vae.latents_std)
        tokens: Tensor = self._pack_latents(latents)
        return tokens

    def _encode(self, given: GivenImage, noise: Tensor, num_frames: int, frame_rate: float) -> _Tokens:
        """Encode an image as image-to-video does. Its frame is counted from the frames that are kept."""
        pixels = self.video_processor.preprocess(given.image).to(noise.device, self.vae.dtype)
        latents = self.vae.encode(pixels.unsqueeze(2)).latent_dist.mode().to(noise.dtype)
        latents = self._normalize_latents(latents, self.vae.latents_mean, self.vae.latents_std)
        frame = given.place.resolve(min(num_frames, given.num_frames))
        coordinates = None if frame == FIRST else self._coordinates(latents, frame, frame_rate)
        return _Tokens(self._pack_latents(latents), given.place.strength, coordinates)

    def _coordinates(self, latents: Tensor, frame: int, frame_rate: float) -> Tensor:
        """Where the tokens of an image are in the video: one frame long, at its frame, in seconds and pixels."""
        coordinates: Tensor = self._prepare_keyframe_coords(
            keyframe_latent_num_frames=1,
            keyframe_latent_height=latents.shape[-2],
            keyframe_latent_width=latents.shape[-1],
            pixel_frame_idx=frame,
            num_pixel_frames=1,
            fps=frame_rate,
            device=latents.device,
        )
        return coordinates

    def _encode_control(self, given: ControlCondition, noise: Tensor, num_frames: int, frame_rate: float) -> _Tokens:
        """Encode a control video. Each of its tokens is where the video has the same part of the frame."""
        latents = encode_frames(self.vae, given.frames, np.arange(num_frames), noise.device).to(noise.dtype)
        latents = self._normalize_latents(latents, self.vae.latents_mean, self.vae.latents_std)
        _, _, count, height, width = latents.shape
        coordinates = self.transformer.rope.prepare_video_coords(
            batch_size=1, num_frames=count, height=height, width=width, device=noise.device, fps=frame_rate
        )
        coordinates[:, 1:] *= given.downscale_factor
        return _Tokens(self._pack_latents(latents), given.strength, coordinates)


def _draw_noise(
    shape: Sequence[int],
    first: Tensor | None,
    pack: Callable[[Tensor], Tensor],
    *,
    generator: Generator,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """The noise of the tokens of latents with this shape, as text-to-video draws it.

    In a second stage, which begins with the tokens `first`, it draws for packed tokens, in their dtype.
    """
    if first is None:
        return pack(randn_tensor(shape, generator=generator, device=device, dtype=dtype))
    noise: Tensor = randn_tensor(first.shape, generator=generator, device=device, dtype=first.dtype)
    return noise.to(dtype)


def _mix(noise: Tensor, kept: KeptTokens, start: Tensor | None, noise_scale: float) -> Tensor:
    """The noisy tokens: given ones with as much noise as their strength leaves, all others at the first level.

    `start` are the tokens that the others start from: a clip's, or those of a first stage. Without them, the first
    level is 1.
    """
    if start is None:
        return noise * (1 - kept.strength) + kept.clean * kept.strength
    start = torch.cat([start.to(noise), kept.clean[:, start.shape[1] :]], dim=1)
    level = (1 - kept.strength) * noise_scale
    return noise * level + torch.where(kept.strength > 0, kept.clean, start) * (1 - level)


def _keep(given: Sequence[_Tokens], own: tuple[Tensor, Tensor], generator: Generator) -> KeptTokens:
    """The strength and the latents of each token: first the video's `own` ones, then the appended ones."""
    strengths, cleans = [own[0]], [own[1]]
    for each in given:
        strength = torch.full_like(each.latents[..., :1], each.strength)
        if each.coordinates is None:
            count = each.latents.shape[1]
            strengths[0][:, :count], cleans[0][:, :count] = strength, each.latents
        else:
            strengths.append(strength)
            cleans.append(each.latents)
    return KeptTokens(torch.cat(strengths, dim=1), torch.cat(cleans, dim=1), own[0].shape[1], generator)
