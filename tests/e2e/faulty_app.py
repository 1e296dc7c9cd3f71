"""The real application with a Generator that some prompts harm: they hang it, kill it, or fill its memory."""

import os
import resource
import signal
import tempfile
import time
from pathlib import Path

import psutil
import torch

import deployments.app
from deployments.generator.deployment import Generator
from deployments.generator.previews import PreviewPublisher
from deployments.generator.progress import ProgressDispatcher
from deployments.settings import Settings
from models.clip import Clip
from models.progress import Progress, Stage
from storage.tasks import Task

STUCK_PROMPT = "a step that never returns, the first time"
POISON_PROMPT = "kills its Generator every time, as the kernel does when memory runs out"
HUNGRY_PROMPT = "asks for more memory than its process may have"
ENCODED_PROMPT = "kills its Generator when what was given is encoded, the first time"
HELD_PROMPT = "stays in its first step until the test lets it go on"
SPARE_BYTES = 1_000_000_000
CHUNK_BYTES = 256 * 1024 * 1024
RELEASED = "released"
"""A file of this name among the temporary ones lets a held task go on."""


class DeadlyDispatcher(ProgressDispatcher):
    def __call__(self, progress: Progress) -> None:
        super().__call__(progress)
        if progress.encodes_given:
            os.kill(os.getpid(), signal.SIGKILL)


class FaultyGenerator(Generator):
    def _render_started(self, task: Task, hearing: ProgressDispatcher, publisher: PreviewPublisher) -> Clip:
        prompt = task.request.prompt
        if prompt == ENCODED_PROMPT and task.attempts == 0:
            hearing = DeadlyDispatcher(**vars(hearing))
        if prompt == POISON_PROMPT:
            hearing(Progress(Stage.DENOISING, 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == HUNGRY_PROMPT:
            hearing(Progress(Stage.DENOISING, 1))
            _eat_up_memory()
        if prompt == HELD_PROMPT:
            hearing(Progress(Stage.DENOISING, 1))
            while not Path(tempfile.gettempdir(), RELEASED).exists():
                time.sleep(0.05)
        if prompt == STUCK_PROMPT and task.attempts == 0:
            hearing(Progress(Stage.DENOISING, 1))
            time.sleep(3600)
        return super()._render_started(task, hearing, publisher)


def _eat_up_memory() -> None:
    """Allocate until the system refuses. The chunks are large, so that the rest is enough for all other threads."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    eaten = []
    try:
        while True:
            eaten.append(torch.empty(CHUNK_BYTES, dtype=torch.uint8))
    finally:
        eaten.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


def build(settings: Settings) -> object:
    deployments.app.Generator = FaultyGenerator  # type: ignore[misc]
    return deployments.app.build(settings)
