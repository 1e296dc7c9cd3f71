"""The pipeline that keeps what is given: diffusers' condition pipeline, with places in frames and with our noise.

Two of its methods are replaced. Its denoising loop is used as it is: for each token, the timestep is the step's times
`1 - strength`, and the prediction is blended with the given latents.

- The first frame has a latent frame of its own, so its tokens are replaced. An image at any other frame is appended as
  tokens with the coordinates of that frame. diffusers counts latent frames instead, and can name only every eighth.
- A seed gives the noise of text-to-video and image-to-video. The noise of appended tokens has its own generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTX2ConditionPipeline
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Generator, Tensor

from models.fixes.ancestral import SEEDS, AncestralEuler, KeptTokens
from models.request.places import FIRST, Place

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
class _Tokens:
    """The packed latents of one image (1, tokens, channels), and its frame."""

    latents: Tensor
    frame: int
    strength: float
    height: int
    width: int


class ConditionedPipeline(LTX2ConditionPipeline):  # type: ignore[misc]  # diffusers has no types
    """Takes its `conditions` as GivenImage. Without any, it is text-to-video."""

    def prepare_latents(
        self,
        *,
        conditions: Sequence[GivenImage] | None,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        num_frames: int,
        frame_rate: float,
        generator: Generator,
        dtype: torch.dtype,
        device: torch.device,
        **_unused: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The noisy tokens, the strength of each, the clean tokens, and the coordinates of the appended ones.

        The noise levels of all our schedules begin at 1, so `noise_scale` is not used.
        """
        shape = (
            batch_size,
            num_channels_latents,
            (num_frames - 1) // self.vae_temporal_compression_ratio + 1,
            height // self.vae_spatial_compression_ratio,
            width // self.vae_spatial_compression_ratio,
        )
        noise = self._pack_latents(randn_tensor(shape, generator=generator, device=device, dtype=dtype))
        given = [self._encode(each, noise, num_frames) for each in conditions or ()]
        kept = _keep(given, noise, torch.Generator("cpu").manual_seed((generator.initial_seed() + SEED_OFFSET) % SEEDS))
        if isinstance(self.scheduler, AncestralEuler):
            self.scheduler.keep(kept)
        appended = [each for each in given if each.frame != FIRST]
        coordinates = [self._coordinates(each, frame_rate, device) for each in appended]
        if appended:
            missing = (batch_size, kept.clean.shape[1] - noise.shape[1], noise.shape[2])
            more = randn_tensor(missing, generator=kept.generator, device=device, dtype=dtype)
            noise = torch.cat([noise, more], dim=1)
        noisy = noise * (1 - kept.strength) + kept.clean * kept.strength
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
        **_unused: Any,
    ) -> Tensor:
        """The noise of the audio, drawn as text-to-video draws it."""
        bins = num_mel_bins // self.audio_vae_mel_compression_ratio
        shape = (batch_size, num_channels_latents, audio_latent_length, bins)
        noise = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        packed: Tensor = self._pack_audio_latents(noise)
        return packed

    def _encode(self, given: GivenImage, noise: Tensor, num_frames: int) -> _Tokens:
        """Encode an image as image-to-video does. Its frame is counted from the frames that are kept."""
        pixels = self.video_processor.preprocess(given.image).to(noise.device, self.vae.dtype)
        latents = self.vae.encode(pixels.unsqueeze(2)).latent_dist.mode().to(noise.dtype)
        latents = self._normalize_latents(latents, self.vae.latents_mean, self.vae.latents_std)
        frame = given.place.resolve(min(num_frames, given.num_frames))
        return _Tokens(self._pack_latents(latents), frame, given.place.strength, *latents.shape[-2:])

    def _coordinates(self, given: _Tokens, frame_rate: float, device: Any) -> Tensor:
        """Where the tokens of an image are in the video: one frame long, at its frame, in seconds and pixels."""
        coordinates: Tensor = self._prepare_keyframe_coords(
            keyframe_latent_num_frames=1,
            keyframe_latent_height=given.height,
            keyframe_latent_width=given.width,
            pixel_frame_idx=given.frame,
            num_pixel_frames=1,
            fps=frame_rate,
            device=device,
        )
        return coordinates


def _keep(given: Sequence[_Tokens], noise: Tensor, generator: Generator) -> KeptTokens:
    """The strength and the latents of each token: first those of the video like `noise`, then the appended ones."""
    strengths, cleans = [noise.new_zeros(*noise.shape[:2], 1)], [torch.zeros_like(noise)]
    for each in given:
        strength = torch.full_like(each.latents[..., :1], each.strength)
        if each.frame == FIRST:
            count = each.latents.shape[1]
            strengths[0][:, :count], cleans[0][:, :count] = strength, each.latents
        else:
            strengths.append(strength)
            cleans.append(each.latents)
    return KeptTokens(torch.cat(strengths, dim=1), torch.cat(cleans, dim=1), noise.shape[1], generator)
