"""Starts the denoising of video-to-video at a later step: the last levels of the whole schedule, from the source."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.checkpoint.profile import CheckpointProfile
from models.memory.estimate import video_tokens
from models.request.edits import Edit
from models.request.request import VideoRequest


def start_arguments(
    scheduler: Any, profile: CheckpointProfile, request: VideoRequest, edit: Edit | None
) -> dict[str, Any]:
    """The pipeline's arguments for a start from a source, in place of those of the whole schedule. None without one.

    The shift moves each level by itself, and the end of the schedule stays: so the last levels are those of the whole.
    """
    if edit is None or not edit.strength:
        return {}
    count = edit.count_steps(request.num_inference_steps)
    levels = _levels(profile, request.num_inference_steps)[-count:]
    return {
        "num_inference_steps": count,
        "sigmas": levels,
        "noise_scale": _first_level(scheduler, levels, video_tokens(request)),
    }


def _levels(profile: CheckpointProfile, num_steps: int) -> list[float]:
    """The noise levels of the whole schedule, before the shift: those of a base model are equal steps."""
    return [float(each) for each in profile.sigmas or np.linspace(1.0, 1 / num_steps, num_steps)]


def _first_level(scheduler: Any, levels: Sequence[float], num_tokens: int) -> float:
    """The first noise level after the shift, as the pipeline sets it for `num_tokens` tokens."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import calculate_shift

    scheduler, config = copy.deepcopy(scheduler), scheduler.config
    shift = calculate_shift(
        num_tokens,
        config.get("base_image_seq_len", 1024),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.95),
        config.get("max_shift", 2.05),
    )
    scheduler.set_timesteps(sigmas=list(levels), mu=shift)
    return float(scheduler.sigmas[0])
