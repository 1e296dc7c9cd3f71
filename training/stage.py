"""Runs one stage of the training: steps, a progress bar, and a save every two minutes."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from training.latents import BUCKETS, Bucket
from training.optimizer import Trained
from training.run_state import load_state, save_state, seed_step

SAVE_INTERVAL_S = 120.0
LEARNING_RATE = 3e-3
"""Weights that are trained already want about half of it."""
SHOWN_STEPS = 50
"""The progress bar shows means over this many steps."""


@dataclass(frozen=True)
class Plan:
    """What all stages share: the run's folder, seed and device ("cpu" or "cuda").

    `learning_rate` is the highest one of the transformer.
    """

    folder: Path
    seed: int
    device: str
    buckets: Sequence[Bucket] = BUCKETS
    save_interval_s: float = SAVE_INTERVAL_S
    learning_rate: float = LEARNING_RATE


StepFunction = Callable[[Trained, random.Random], dict[str, float]]
"""Does one step with the step's own random numbers and returns what the progress bar shows."""


def run_stage(
    name: str,
    trained: Trained,
    train_step: StepFunction,
    steps: int,
    plan: Plan,
    *,
    save_more: Callable[[], None] = lambda: None,
) -> None:
    """Train until `steps` steps are done, counted over all runs in this folder. Each save also calls `save_more`."""
    path = plan.folder / f"{name}.pt"
    state = load_state(path)
    if state is not None:
        trained.restore(state)
    else:
        save_state(path, trained.state())  # a stage without steps keeps the weights it was given
    saved = time.monotonic()
    recent: dict[str, deque[float]] = {}
    with tqdm(total=steps, initial=trained.step, desc=name, mininterval=5) as bar:
        while trained.step < steps:
            for key, value in train_step(trained, seed_step(plan.seed, name, trained.step)).items():
                recent.setdefault(key, deque(maxlen=SHOWN_STEPS)).append(value)
            bar.update()
            bar.set_postfix({key: f"{sum(values) / len(values):.3f}" for key, values in recent.items()}, refresh=False)
            if time.monotonic() - saved > plan.save_interval_s or trained.step == steps:
                save_state(path, trained.state())
                save_more()
                saved = time.monotonic()
