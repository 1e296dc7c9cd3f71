"""The sampler of the distilled LTX-2.5: after each Euler step the noise is raised again, with new noise.

The arithmetic is diffusers' own (`LTXEulerAncestralRFScheduler`, eta 1). Its LTX-2 pipelines give its steps no
generator, so one is kept here. Picture and sound are stepped by two copies of a scheduler, in this order, and draw from
the one generator.
"""

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers import LTXEulerAncestralRFScheduler
from torch import Tensor

SEED_OFFSET = 10_000
"""What is added to a request's seed for this noise: with the seed itself the first of it would be the latents'
initial noise. Lightricks' own number."""
SEEDS = 2**64
"""As many as torch's generators take."""


class AncestralEuler(LTXEulerAncestralRFScheduler):  # type: ignore[misc]  # diffusers has no types
    """Takes noise levels without the last 0, as LTX2Pipeline gives them, and draws noise on the CPU."""

    def seed(self, seed: int) -> None:
        """Begin the noise of one render: that of a request's seed, the same on every device."""
        self._generator = torch.Generator("cpu").manual_seed((seed + SEED_OFFSET) % SEEDS)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,  # noqa: ARG002  # the pipeline looks for these names
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Any = None,  # noqa: ARG002
        mu: float | None = None,  # noqa: ARG002
    ) -> None:
        """Step from each of `sigmas` to the next, and from the last to 0."""
        if sigmas is None:
            raise ValueError("a distilled model has noise levels of its own")
        super().set_timesteps(device=device, sigmas=[*sigmas, 0.0])
        self.timesteps: Tensor = self.timesteps[:-1]

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any:
        """One step, with the render's own noise."""
        return super().step(model_output, timestep, sample, **{"generator": self._generator, **options})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that draws from the same generator: all else is made anew when its schedule is set."""
        return copy.copy(self)


def use_ancestral(pipe: Any) -> None:
    """Have the pipeline of a distilled model sample so, where its transformer is of the generation that was made so.

    That is told by its embedding for keyframes, which came with LTX-2.5.
    """
    if pipe.transformer.config.get("use_keyframes_abs_pos_embedding"):
        pipe.scheduler = AncestralEuler()


def seed_sampler(pipe: Any, seed: int) -> None:
    """Begin the sampler's own noise for one render, if it draws any."""
    if isinstance(pipe.scheduler, AncestralEuler):
        pipe.scheduler.seed(seed)
