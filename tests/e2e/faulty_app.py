"""The real application with a Generator that some prompts harm: one hangs it, one kills it, one slows its decoding."""

import os
import signal
import time

import deployments.app
from deployments.generator.deployment import Generator
from deployments.generator.hearing import Hearing
from deployments.settings import Settings
from models.clip import Clip
from models.progress import Progress, Stage
from storage.tasks import Task

STUCK_PROMPT = "a step that never returns, the first time"
POISON_PROMPT = "kills its Generator every time, as the kernel does when memory runs out"


class FaultyGenerator(Generator):
    def _render(self, task: Task, hearing: Hearing) -> Clip:
        prompt = task.request.prompt
        if prompt == POISON_PROMPT:
            hearing(Progress(Stage.DENOISING, 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == STUCK_PROMPT and task.attempts == 0:
            hearing(Progress(Stage.DENOISING, 1))
            time.sleep(3600)
        return super()._render(task, hearing)


def build(settings: Settings) -> object:
    deployments.app.Generator = FaultyGenerator  # type: ignore[misc]
    return deployments.app.build(settings)
