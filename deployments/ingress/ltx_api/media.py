"""Makes tasks from an audio or a video that a request of the hosted LTX API names."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.errors import Gone, NotFound
from deployments.ingress.ltx_api.images import UPLOADS, parse_uri, read_image, upload_words
from deployments.ingress.ltx_api.mapping import IMAGE, RequestRules, explain_does_not_fit
from deployments.ingress.ltx_api.media_mapping import URIS, map_media
from deployments.ingress.media.fetching import is_own_file, read_named, task_of_video
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.model_names import ModelNames
from deployments.ingress.request_body.given_images import NO_IMAGES, GivenImages
from deployments.ingress.request_body.given_media import GivenMedia, MediaUse
from deployments.ingress.request_body.media_reading import write_file
from deployments.ingress.request_body.reading import read_long_json
from deployments.ingress.routes.generate import submit_given
from deployments.work_folder import work_folder
from models.errors import DoesNotFit, InvalidRequest
from models.request.places import IMAGE as IMAGE_FIELD
from storage.tasks import Task

ALLOWED = "a storage_uri of /v1/upload, an http or https url, or a data url (data:{kind}/...;base64,...)"


class MediaCreation:
    """Makes tasks from requests for audio to video, retake and extend."""

    def __init__(self, context: AppContext, models: ModelNames) -> None:
        self._context = context
        self._models = models

    def rules(self) -> RequestRules:
        """What a request is checked against."""
        settings = self._context.settings
        return RequestRules(self._models, settings.limits, enhances_prompts=settings.enhance.is_configured)

    async def create(self, request: Request, use: MediaUse, waiting: contextlib.ExitStack | None = None) -> Task:
        """Read a request and create its task. With `waiting`, also count it as one that waits for the task."""
        context, uri = self._context, URIS[use]
        with context.uploads.acquire(), work_folder() as folder:
            named = (uri, IMAGE) if use is MediaUse.A2V else (uri,)
            given = await read_long_json(request, context.settings, named)
            fields, own = map_media(use, given, self.rules())
            images = await self._read_image(request, use, given)
            media = await self._read_file(request, use, given.get(uri), own, folder)
            if waiting is not None:
                waiting.enter_context(context.sync_requests.acquire())
            try:
                return await submit_given(context, request, fields, images, GivenMediaFile(media, folder))
            except DoesNotFit as error:
                raise explain_does_not_fit(error, given, fields) from None
            except (Gone, NotFound):
                raise InvalidRequest(uri, given[uri], "the video_url of a completed job of yours") from None

    async def _read_image(self, request: Request, use: MediaUse, given: Mapping[str, object]) -> GivenImages:
        """The first frame of a video to given audio, if the request names one."""
        uri = given.get(IMAGE) if use is MediaUse.A2V else None
        if not uri:
            return NO_IMAGES
        return GivenImages(((IMAGE_FIELD, await read_image(self._context, request, IMAGE, uri)),))

    async def _read_file(
        self, request: Request, use: MediaUse, given: object, own: Mapping[str, object], folder: Path
    ) -> GivenMedia:
        """Write the file that a uri names into `folder`. A video of this server stays a task. Raises InvalidRequest."""
        name, allowed = URIS[use], ALLOWED.format(kind=use.file_field)
        uri = parse_uri(name, given, allowed)
        if is_own_file(self._context, request, uri):
            return GivenMedia(use, task_id=_task_of(use, uri), fields=own)
        content = await read_named(
            self._context,
            request,
            use,
            uri,
            upload_id=uri.removeprefix(UPLOADS) if uri.startswith(UPLOADS) else None,
            words=upload_words(name),
            allowed=allowed,
        )
        target, limits = folder / use.file_field, self._context.settings.limits
        digest = await asyncio.to_thread(write_file, use, content, target, limits)
        return GivenMedia(use, target, digest, fields=own)


def _task_of(use: MediaUse, uri: str) -> str:
    """The id of the task whose video a url of this server names. Raises InvalidRequest."""
    task_id = task_of_video(uri)
    if use is MediaUse.A2V or task_id is None:
        what = "no file of this server" if use is MediaUse.A2V else "the video_url of a job of yours"
        raise InvalidRequest(URIS[use], uri, what)
    return task_id
