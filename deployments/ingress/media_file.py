"""The audio or video of a request, in a temporary folder for as long as the request is read."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.request_body.given_media import SOURCE_TASK, GivenMedia
from deployments.ingress.source_task import copy_video


@dataclass(frozen=True)
class GivenMediaFile:
    """Given media, and the folder for its files. `source_name` is what the client calls the field of a task."""

    given: GivenMedia
    folder: Path
    source_name: str = SOURCE_TASK

    async def fetch(self, context: AppContext, request: Request) -> Path:
        """The path of the file, which is that of a task if the request names one. Raises as `copy_video` does."""
        if self.given.path is not None:
            return self.given.path
        target = self.folder / self.given.use.file_field
        await copy_video(context, request, self.given.task_id or "", target, self.source_name)
        return target
