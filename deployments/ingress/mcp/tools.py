"""The tools: they call the same functions as the routes, and return plain JSON objects."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from PIL import UnidentifiedImageError

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound, TooManyRequests
from deployments.ingress.images.shrinking import shrink_to_jpeg
from deployments.ingress.mcp.argument_schemas import OPERATIONS
from deployments.ingress.mcp.arguments import (
    check_arguments,
    map_request,
    media_use,
    refuse_audio_fields,
    refuse_control_loras,
    refuse_images,
)
from deployments.ingress.mcp.estimating import map_estimate
from deployments.ingress.mcp.guide import Guide
from deployments.ingress.mcp.images import named_images, read_images
from deployments.ingress.mcp.media import read_media
from deployments.ingress.mcp.tool_schemas import describe_tools
from deployments.ingress.mcp.video_state import percent, spell_time, status_of, video_state, with_notes
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.request_body.given_media import MediaUse
from deployments.ingress.routes.delete_task import cancel_or_delete_task, cancel_task
from deployments.ingress.routes.estimate import estimate
from deployments.ingress.routes.generate import submit_given
from deployments.ingress.routes.list_tasks import LISTED, sequence_after, task_responses
from deployments.ingress.routes.tasks import get_task_or_404, task_response
from deployments.ingress.schemas import has_preview
from deployments.ingress.submission import IDEMPOTENCY_HEADER
from deployments.ingress.task_watcher import TaskWatcher
from deployments.ingress.uploads.access import create_upload
from deployments.ingress.uploads.kinds import UploadKind
from deployments.ingress.uploads.tickets import TICKET_TTL_S
from deployments.work_folder import work_folder
from models.errors import InvalidRequest, StoreUnavailable
from storage.outputs.store import preview_key
from storage.tasks import State, Task

POSTER_SIDE_PX = 512
ReportProgress = Callable[[float, str], Awaitable[None]]
"""Reports progress from 0 to 100 with a message to the client, if it asked for that."""


@dataclass(frozen=True)
class ToolCall:
    """One call: the checked arguments, the HTTP request that carries it, and how to report progress."""

    arguments: Mapping[str, Any]
    unknown: list[str]
    request: Request
    report_progress: ReportProgress


@dataclass(frozen=True)
class ToolAnswer:
    """What a tool returns: text without structure, or an object, and a JPEG: the poster or the preview of a video."""

    content: Mapping[str, Any] | str
    image: bytes | None = None


class Tools:
    """The tools of one app."""

    def __init__(self, context: AppContext, watcher: TaskWatcher) -> None:
        settings = context.settings
        self.described = describe_tools(settings.limits, settings.generator.known_loras)
        self._context = context
        self._watcher = watcher
        self._guide = Guide(context)
        self._calls: dict[str, Callable[[ToolCall], Awaitable[ToolAnswer]]] = {
            "create_video": self._create_video,
            "edit_video": self._edit_video,
            "wait_for_video": self._wait_for_video,
            "list_videos": self._list_videos,
            "estimate_video": self._estimate_video,
            "cancel_video": self._cancel_video,
            "create_image_upload": self._create_image_upload,
            "create_media_upload": self._create_media_upload,
            "get_guide": self._get_guide,
        }

    async def call(
        self, name: str, arguments: Mapping[str, object], request: Request, report_progress: ReportProgress
    ) -> ToolAnswer:
        """Call a tool. Raises VideoError and HTTPException, as the routes do."""
        if name not in self._calls:
            raise InvalidRequest("name", name, "one of " + ", ".join(self._calls))
        schema = self.described[name]["input_schema"]
        call = ToolCall(check_arguments(schema, arguments), _unknown(schema, arguments), request, report_progress)
        return await self._calls[name](call)

    async def _create_video(self, call: ToolCall) -> ToolAnswer:
        context = self._context
        defaults = await context.read_threads.run(context.model_info.defaults)
        mapped = map_request(call.arguments, defaults, context.settings.limits)
        request = _with_idempotency_key(call.request, call.arguments.get("request_key"))
        with self._upload(call), work_folder() as folder:
            audio = await self._read_audio(call, folder)
            given = await read_images(context, call.arguments, call.request)
            task = await submit_given(context, request, mapped.fields, given, audio)
        state = await self._state(task, call.request)
        return ToolAnswer(with_notes(state, mapped.adjusted, call.unknown))

    async def _read_audio(self, call: ToolCall, folder: Path) -> GivenMediaFile | None:
        if media_use(call.arguments) is None:
            refuse_audio_fields(call.arguments)
            return None
        return await read_media(self._context, call.request, MediaUse.A2V, call.arguments, folder)

    async def _edit_video(self, call: ToolCall) -> ToolAnswer:
        context, use = self._context, OPERATIONS[call.arguments["operation"]]
        refuse_images(use, call.arguments)
        refuse_control_loras(use, call.arguments, context.settings.generator.known_loras)
        mapped = map_request(call.arguments, {}, context.settings.limits)
        request = _with_idempotency_key(call.request, call.arguments.get("request_key"))
        with context.uploads.acquire(), work_folder() as folder:
            video = await read_media(context, call.request, use, call.arguments, folder)
            images = await read_images(context, call.arguments, call.request)
            task = await submit_given(context, request, mapped.fields, images, video)
        state = await self._state(task, call.request)
        return ToolAnswer(with_notes(state, mapped.adjusted, call.unknown))

    async def _wait_for_video(self, call: ToolCall) -> ToolAnswer:
        context = self._context
        task = await context.read_threads.run(get_task_or_404, context, call.arguments["video_id"], call.request)
        wait_s = call.arguments["wait_seconds"]
        if wait_s and not task.is_finished:
            with contextlib.suppress(TooManyRequests), context.sync_requests.acquire():
                task = await self._watch(task, wait_s, call.report_progress)
        state = await self._state(task, call.request)
        image = await self._poster(task) if state["status"] == "completed" else await self._preview(task)
        return ToolAnswer(state, image)

    async def _watch(self, task: Task, wait_s: float, report_progress: ReportProgress) -> Task:
        """Follow the task until it ends or the time is over. Reports progress that rises."""
        shown = -1
        with self._watcher.subscribe(task.id) as updates, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not task.is_finished:
                    if percent(task) > shown:
                        shown = percent(task)
                        await report_progress(shown, task.stage or task.state)
                    changed = await updates.get()
                    if changed is None:
                        raise NotFound(f"there is no video {task.id!r}")
                    task = changed
        return task

    async def _list_videos(self, call: ToolCall) -> ToolAnswer:
        return ToolAnswer(await self._context.read_threads.run(self._page, call))

    def _page(self, call: ToolCall) -> dict[str, Any]:
        context, owner, limit = self._context, request_owner(call.request), call.arguments["limit"]
        wanted = _states(call.arguments.get("status"))
        before = call.arguments.get("before")
        beyond = None if before is None else sequence_after(context, before, owner)
        found = context.tasks.page(wanted, limit + 1, beyond, owner=owner)
        shown = found[:limit]
        bodies = task_responses(context, shown, call.request)
        page: dict[str, Any] = {"videos": [video_state(*each) for each in zip(shown, bodies, strict=True)]}
        return page | ({"next_before": shown[-1].id} if len(found) > limit else {})

    async def _estimate_video(self, call: ToolCall) -> ToolAnswer:
        context = self._context
        defaults = await context.read_threads.run(context.model_info.defaults)
        mapped = await map_estimate(context, call.request, call.arguments, defaults)
        with self._upload(call):
            given = await read_images(context, call.arguments, call.request)
            estimated = await estimate(context, mapped.fields, given)
        rate = mapped.frame_rate or defaults.get("frame_rate", 25.0)
        nearest = [
            {"size": f"{each.width}x{each.height}", "seconds": round(each.num_frames / rate, 2)}
            for each in estimated.nearest
        ]
        queued = (await context.read_threads.run(context.tasks.counts)).get(State.QUEUED, 0)
        answer = {"fits": estimated.fits, "nearest": nearest, "queued": queued, "adjusted": mapped.adjusted}
        return ToolAnswer(answer if estimated.seconds is None else {**answer, "seconds_to_render": estimated.seconds})

    async def _cancel_video(self, call: ToolCall) -> ToolAnswer:
        return ToolAnswer(await self._context.delete_threads.run(self._cancel, call))

    def _cancel(self, call: ToolCall) -> dict[str, Any]:
        video_id, context = call.arguments["video_id"], self._context
        task = get_task_or_404(context, video_id, call.request)
        remove = cancel_or_delete_task if call.arguments["delete_files"] else cancel_task
        remove(context, task.id, request_owner(call.request))
        task = get_task_or_404(context, video_id, call.request)
        return video_state(task, task_response(context, task, call.request))

    async def _create_image_upload(self, call: ToolCall) -> ToolAnswer:
        return await self._create_upload(call, UploadKind.IMAGE)

    async def _create_media_upload(self, call: ToolCall) -> ToolAnswer:
        return await self._create_upload(call, UploadKind(call.arguments["kind"]))

    async def _create_upload(self, call: ToolCall, kind: UploadKind) -> ToolAnswer:
        upload = await create_upload(self._context, call.request, kind)
        then = "video to edit_video" if kind is UploadKind.VIDEO else f"{kind} to create_video"
        return ToolAnswer(
            {
                "upload_id": upload.id,
                "put_url": upload.put_url,
                "expires_at": spell_time(upload.expires_at),
                "max_bytes": kind.max_bytes(self._context.settings.limits),
                "curl": f"curl --fail-with-body -T {kind.upper()}_FILE '{upload.put_url}'",
                "next_step": f"Send the {kind} file to put_url with PUT within {TICKET_TTL_S // 60} minutes, then pass "
                f"upload_id as {then}.",
            }
        )

    async def _get_guide(self, _call: ToolCall) -> ToolAnswer:
        return ToolAnswer(await self._context.read_threads.run(self._guide.write))

    @contextlib.contextmanager
    def _upload(self, call: ToolCall) -> Iterator[None]:
        """Count the call as an upload while its files are read and decoded."""
        has_file = named_images(call.arguments) or media_use(call.arguments) is not None
        with self._context.uploads.acquire() if has_file else contextlib.nullcontext():
            yield

    async def _state(self, task: Task, request: Request) -> dict[str, Any]:
        context = self._context
        return video_state(task, await context.read_threads.run(task_response, context, task, request))

    async def _poster(self, task: Task) -> bytes | None:
        if task.output is None:
            return None
        return await self._context.file_threads.run(self._shrink_poster, task.output.poster_key)

    async def _preview(self, task: Task) -> bytes | None:
        return await self._context.file_threads.run(self._read_preview, task.id) if has_preview(task) else None

    def _read_preview(self, task_id: str) -> bytes | None:
        """The preview of a video that is not finished; None if it is gone by now, or cannot be read."""
        try:
            return b"".join(self._context.outputs.open(preview_key(task_id)))
        except (FileNotFoundError, StoreUnavailable):
            return None

    def _shrink_poster(self, key: str) -> bytes | None:
        """The poster as a small JPEG; None if it cannot be read: the video counts, not its poster."""
        try:
            return shrink_to_jpeg(b"".join(self._context.outputs.open(key)), POSTER_SIDE_PX, ["JPEG"])
        except (FileNotFoundError, StoreUnavailable, UnidentifiedImageError, OSError):
            return None


def _with_idempotency_key(request: Request, key: str | None) -> Request:
    """The request with `key` in the header Idempotency-Key, in place of what the client's transport sent."""
    name = IDEMPOTENCY_HEADER.lower().encode()
    headers = [each for each in request.scope["headers"] if each[0] != name]
    if key is not None:
        headers.append((name, key.encode("utf-8", "replace")))
    return Request({**request.scope, "headers": headers})


def _unknown(schema: Mapping[str, Any], arguments: Mapping[str, object]) -> list[str]:
    """The names that the tool does not have, also those of fields that the routes have."""
    return sorted(name.encode(errors="backslashreplace").decode() for name in arguments.keys() - schema["properties"])


def _states(status: str | None) -> frozenset[State]:
    """The listed states that have this status."""
    return frozenset(state for state in LISTED if status in (None, status_of(state)))
