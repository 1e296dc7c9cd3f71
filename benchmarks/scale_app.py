"""The real application with a fake model: its Generator sleeps instead of rendering, and records the times."""

import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

import deployments.app
import deployments.generator.model_manager
from deployments.generator.deployment import Generator
from deployments.generator.progress import ProgressDispatcher
from deployments.settings import Settings
from models.clip import Clip
from models.progress import Progress, Stage
from storage.tasks import Task

RENDER_S = 2.0
STEPS = 8
NOTES = "notes"
FRAMES, HEIGHT, WIDTH = 9, 64, 64
RATE_HZ = 24_000


class NothingToWarm:
    """Replaces the imports and the prefetch of the replica."""

    def __init__(self, *_args: object) -> None:
        pass

    def start(self) -> None:
        """Do nothing: there is no model."""


class SleepingGenerator(Generator):
    """Sleeps `RENDER_S` for each task. Each line of its notes has two times: the start and the end of a render."""

    def _render(self, _task: Task, hearing: ProgressDispatcher) -> Clip:
        began = time.monotonic()
        for step in range(1, STEPS + 1):
            time.sleep(RENDER_S / STEPS)
            hearing(Progress(Stage.DENOISING, step))
        hearing(Progress(Stage.ENCODING, STEPS))
        folder = Path(self._settings.outputs.url.removeprefix("file:")) / NOTES
        folder.mkdir(exist_ok=True)
        with (folder / str(os.getpid())).open("a") as notes:
            notes.write(f"{began} {time.monotonic()}\n")
        frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 127, np.uint8)
        return Clip(frames, np.zeros((2, RATE_HZ * FRAMES // 25), np.float32), RATE_HZ, Fraction(25))


def build(settings: Settings) -> object:
    """The app, with this Generator."""
    deployments.app.Generator = SleepingGenerator  # type: ignore[misc]
    return deployments.app.build(settings)


deployments.generator.model_manager.WarmUp = NothingToWarm  # type: ignore[misc,assignment]
