"""Keeps the state of a run in a folder, so that a run which was cut goes on from its last save."""

import os
import random
from pathlib import Path
from typing import Any

import torch


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`. A process killed at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, draft)
    draft.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The state in `path`, None if there is no file."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def seed_step(seed: int, stage: str, step: int) -> random.Random:
    """Seed torch for one step and return the step's own generator. A resumed run draws the same numbers."""
    rng = random.Random(f"{seed} {stage} {step}")  # noqa: S311 - data, not secrets
    torch.manual_seed(rng.getrandbits(63))
    return rng
