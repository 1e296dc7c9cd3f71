"""Runs the three stages in their order, and writes the checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import torch

from training import audio_vae, transformer, video_vae
from training.checkpoint import export_checkpoint, load_weights
from training.latents import LatentPool
from training.optimizer import Trained
from training.run_state import load_state, save_state
from training.stage import Plan, run_stage

VIDEO_VAE_STEPS, AUDIO_VAE_STEPS, TRANSFORMER_STEPS = 4_000, 300, 20_000
"""A night on two cores."""
LATENTS = "latents.pt"


@dataclass(frozen=True)
class Steps:
    """The steps of each stage."""

    video_vae: int = VIDEO_VAE_STEPS
    audio_vae: int = AUDIO_VAE_STEPS
    transformer: int = TRANSFORMER_STEPS


def train(plan: Plan, steps: Steps, resume_from: Path | None = None) -> None:
    """Train all parts and write the checkpoint. A new run may begin with the weights of a checkpoint."""
    parts = create_parts(plan, resume_from)
    run_stage(
        "video_vae",
        parts["video_vae"],
        lambda part, rng: video_vae.train_step(part, rng, plan.device, steps.video_vae),
        steps.video_vae,
        plan,
    )
    run_stage(
        "audio_vae",
        parts["audio_vae"],
        lambda part, rng: audio_vae.train_step(part, rng, plan.device, steps.audio_vae),
        steps.audio_vae,
        plan,
    )
    _train_transformer(parts, plan, steps.transformer, small_first=resume_from is None)
    export_checkpoint(plan.folder / "checkpoint", {name: part.average for name, part in parts.items()})


def create_parts(plan: Plan, resume_from: Path | None) -> dict[str, Trained]:
    """The three trained parts, with random weights of the run's seed or with those of a checkpoint."""
    torch.manual_seed(plan.seed)
    parts = {
        "video_vae": video_vae.create(plan.device),
        "audio_vae": audio_vae.create(plan.device),
        "transformer": transformer.create(plan.device, plan.learning_rate),
    }
    if resume_from is not None:
        load_weights(resume_from, {name: part.network for name, part in parts.items()})
        for part in parts.values():
            part.reset_average()
    return parts


def restore_parts(parts: dict[str, Trained], plan: Plan) -> None:
    """Load what the run has saved into `parts`. A stage that has not begun keeps its weights."""
    for name, part in parts.items():
        state = load_state(plan.folder / f"{name}.pt")
        if state is not None:
            part.restore(state)


def prepare(parts: dict[str, Trained], plan: Plan) -> transformer.Data:
    """The data of the third stage, from the two trained VAEs. Writes the latent statistics into them."""
    pool = LatentPool(parts["video_vae"].average, plan.seed, plan.buckets)
    kept = load_state(plan.folder / LATENTS)
    if kept is not None:
        pool.restore(kept["clips"])
    return transformer.prepare_data(pool, parts["video_vae"].average, parts["audio_vae"].average)


def _train_transformer(parts: dict[str, Trained], plan: Plan, steps: int, *, small_first: bool) -> None:
    data = prepare(parts, plan)
    run_stage(
        "transformer",
        parts["transformer"],
        lambda part, rng: transformer.train_step(part, rng, data, plan.device, steps, small_first=small_first),
        steps,
        plan,
        save_more=lambda: save_state(plan.folder / LATENTS, {"clips": data.pool.state()}),
    )
