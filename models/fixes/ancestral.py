"""The sampler of the distilled LTX-2.5: adds new noise after each Euler step.

The arithmetic is that of diffusers (`LTXEulerAncestralRFScheduler`, eta 1). Its LTX-2 pipelines pass no generator to
the steps, so this class keeps one. Two copies of the scheduler step the video and the audio, in this order, and share
the one generator.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import LTXEulerAncestralRFScheduler
from torch import Tensor

SEED_OFFSET = 10_000
"""Added to a request's seed for this noise. With the seed itself, the first noise would equal the initial noise of the
latents. Source: Lightricks' own pipeline."""
SEEDS = 2**64
"""The number of seeds that torch's generators accept."""


@dataclass(frozen=True)
class KeptTokens:
    """Which tokens are given, for a pipeline that keeps them: their strength (1, tokens, 1), and their clean latents.

    The first `num_own` tokens are those of the video. The noise of the appended ones comes from `generator`.
    """

    strength: Tensor
    clean: Tensor
    num_own: int
    generator: torch.Generator


class AncestralEuler(LTXEulerAncestralRFScheduler):  # type: ignore[misc]  # diffusers has no types
    """Accepts noise levels without the last 0, as LTX2Pipeline passes them, and draws its noise on the CPU."""

    def seed(self, seed: int) -> None:
        """Start the noise of one render from a request's seed. The noise is the same on every device."""
        self._generator = torch.Generator("cpu").manual_seed((seed + SEED_OFFSET) % SEEDS)
        self._kept: KeptTokens | None = None

    def keep(self, kept: KeptTokens | None) -> None:
        """Blend the given tokens in after each step of this render, because the new noise reaches them too."""
        self._kept = kept

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,  # noqa: ARG002  # the pipeline checks for these names
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Any = None,  # noqa: ARG002
        mu: float | None = None,  # noqa: ARG002
    ) -> None:
        """Set the steps: from each of `sigmas` to the next, and from the last to 0."""
        if sigmas is None:
            raise ValueError("a distilled model has noise levels of its own")
        super().set_timesteps(device=device, sigmas=[*sigmas, 0.0])
        self.timesteps: Tensor = self.timesteps[:-1]

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any:
        """One step, with the noise of this render."""
        kept = self._kept
        if kept is None:
            return super().step(model_output, timestep, sample, **{"generator": self._generator, **options})
        stepped = self._step_parts(model_output, timestep, sample, kept)
        if self.sigmas[self.step_index] == 0:  # the last step adds no noise
            return (stepped,)
        return (stepped * (1 - kept.strength) + kept.clean * kept.strength,)

    def _step_parts(self, model_output: Tensor, timestep: Any, sample: Tensor, kept: KeptTokens) -> Tensor:
        """Step the video's own tokens and the appended ones, each with its generator."""
        own, appended = slice(None, kept.num_own), slice(kept.num_own, None)
        other = copy.copy(self)  # the step of either moves it on
        stepped = [super().step(model_output[:, own], timestep, sample[:, own], self._generator, return_dict=False)[0]]
        if sample.shape[1] > kept.num_own:
            parts = (model_output[:, appended], timestep, sample[:, appended])
            stepped += super(AncestralEuler, other).step(*parts, kept.generator, return_dict=False)
        return torch.cat(stepped, dim=1)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A shallow copy that shares the generator, for the audio. `set_timesteps` recreates the rest of the state."""
        copied = copy.copy(self)
        copied.keep(None)
        return copied


def use_ancestral(pipe: Any) -> None:
    """Set the ancestral sampler on the pipeline of a distilled model, if the model is of the LTX-2.5 generation.

    The keyframe embedding of the transformer identifies that generation: it was introduced with LTX-2.5.
    """
    if pipe.transformer.config.get("use_keyframes_abs_pos_embedding"):
        pipe.scheduler = AncestralEuler()


def seed_sampler(pipe: Any, seed: int) -> None:
    """Seed the sampler's own noise for one render, if the sampler draws any."""
    if isinstance(pipe.scheduler, AncestralEuler):
        pipe.scheduler.seed(seed)
