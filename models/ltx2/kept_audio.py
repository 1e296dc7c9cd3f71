"""Keeps given audio during denoising, as diffusers' condition pipeline keeps given frames.

The pipeline has a mask for the video's tokens only. So the audio's scheduler blends the given tokens into each
prediction, and a hook gives each token of the audio a timestep of its own.
"""

from typing import Any

import torch
from torch import Tensor

from models.fixes.ancestral import AncestralEuler, KeptTokens


class KeepingScheduler:
    """A scheduler whose predictions are blended with the given tokens, by their strength. For one render."""

    def __init__(self, scheduler: Any, kept: KeptTokens) -> None:
        self._scheduler = scheduler
        self._kept = kept
        self._step = 0
        if isinstance(scheduler, AncestralEuler):
            scheduler.keep(kept)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        timesteps: Any = None,  # noqa: ARG002  # the pipeline checks for these names
        mu: float | None = None,
    ) -> None:
        """Set the steps, as the scheduler itself does."""
        self._scheduler.set_timesteps(num_inference_steps, device=device, sigmas=sigmas, mu=mu)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any:
        """One step, towards the given tokens. As in the pipeline, the blend is one of clean tokens."""
        sigma, kept = self._scheduler.sigmas[self._step], self._kept
        self._step += 1
        predicted = sample - model_output * sigma
        blended = predicted * (1 - kept.strength) + kept.clean * kept.strength
        return self._scheduler.step((sample - blended) / sigma, timestep, sample, **options)


class NoiseLevels:
    """Tells the transformer how noisy given tokens are: a pre-hook of its calls during one render.

    Each token of the audio gets the step's timestep times `1 - strength`, as the pipeline does for the video. What is
    given whole has no noise, so its sigma is 0. Sigma modulates the text, and gates what the other modality sees.
    """

    def __init__(self) -> None:
        self._audio: Tensor | None = None
        self._audio_is_whole = False
        self.video_is_whole = False
        """Whether all frames are given as they are."""

    def keep_audio(self, strength: Tensor) -> None:
        """Some tokens of the audio are given, with the strength of each (1, tokens)."""
        self._audio = strength
        self._audio_is_whole = bool((strength == 1).all())

    def set(self, _transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Replace the levels in a call."""
        changes: dict[str, Tensor] = {}
        if self._audio is not None:
            changes["audio_timestep"] = call["audio_timestep"].reshape(-1, 1) * (1 - self._audio)
            if self._audio_is_whole:
                changes["audio_sigma"] = torch.zeros_like(call["audio_sigma"])
        if self.video_is_whole:
            changes["sigma"] = torch.zeros_like(call["sigma"])
        return args, {**call, **changes}
