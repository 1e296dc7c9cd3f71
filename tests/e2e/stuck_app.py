"""The real application with a Generator whose first attempt at one prompt never comes back from a step."""

import time

import deployments.app
from deployments.generator import Generator
from deployments.reports import Reporter
from deployments.settings import Settings
from models.clip import Clip
from models.progress import Progress, Stage
from storage.tasks import Task

STUCK_PROMPT = "a step that never returns"


class StuckGenerator(Generator):
    def _render(self, task: Task, reporter: Reporter) -> Clip:
        if task.request.prompt == STUCK_PROMPT and task.attempts == 0:
            self._watch.saw(Stage.DENOISING)
            reporter(Progress(Stage.DENOISING, 1))
            time.sleep(3600)
        return super()._render(task, reporter)


def build(settings: Settings) -> object:
    deployments.app.Generator = StuckGenerator  # type: ignore[misc]
    return deployments.app.build(settings)
