"""The blocking client. `operations.py` has the logic; this module only does its I/O."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, Unpack

import httpx

from ltx2_client import operations, transport
from ltx2_client.core import NoResponse, Operation, Request, Response, Result, RetryPolicy, Sleep
from ltx2_client.media import (
    AudioOptions,
    ChangeOptions,
    ControlOptions,
    ExtendOptions,
    GivenMedia,
    Media,
    RetakeOptions,
    submit_media,
)
from ltx2_client.operations import Image, Images, Keyframe, Options
from ltx2_client.responses import Cancellation, EnhancedPrompt, Estimate, Health, Submitted, Task, TaskPage


class Client:
    """A client of one server.

    Methods raise ClientError. While the server does not answer, they retry for `retry_timeout_s`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        retry_timeout_s: float = 120.0,
        poll_interval_s: float = 2.0,
    ) -> None:
        self.server = transport.server_url(server)
        self._key = transport.key_headers(api_key)
        self._retry_policy = RetryPolicy(retry_timeout_s, poll_interval_s)
        self._http = transport.open_http(httpx.Client, httpx.HTTPTransport, self.server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def generate(
        self,
        prompt: str,
        target: str | Path,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Task:
        """Make a video and save it as `target`. `image` becomes its first frame, `end_image` its last."""
        images = Images(image, end_image, keyframes)
        key = operations.new_idempotency_key()
        submission = operations.submit(prompt, images, options, key, self._retry_policy)
        operation = operations.generate(submission, Path(target), self._retry_policy, on_progress)
        return self._run(operation)

    def submit(
        self,
        prompt: str,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        key: str | None = None,
        **options: Unpack[Options],
    ) -> Submitted:
        """Submit a task. A second submit with the same `key` and the same request returns the same task."""
        images = Images(image, end_image, keyframes)
        return self._run(
            operations.submit(prompt, images, options, key or operations.new_idempotency_key(), self._retry_policy)
        )

    def audio_to_video(
        self,
        prompt: str,
        target: str | Path,
        audio: Media,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[AudioOptions],
    ) -> Task:
        """Make a video that follows `audio`, which it has as it was given, and save it as `target`."""
        given = GivenMedia("a2v", audio, Images(image, end_image))
        return self._make(prompt, given, options, target, on_progress)

    def retake(
        self,
        prompt: str,
        target: str | Path,
        video: Media | None = None,
        *,
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[RetakeOptions],
    ) -> Task:
        """Make a part of `video`, or of a `source_task`, anew, and save the whole as `target`."""
        return self._make(prompt, GivenMedia("retake", video), options, target, on_progress)

    def extend(
        self,
        prompt: str,
        target: str | Path,
        video: Media | None = None,
        *,
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[ExtendOptions],
    ) -> Task:
        """Make `video`, or the video of a `source_task`, longer, and save the whole as `target`."""
        return self._make(prompt, GivenMedia("extend", video), options, target, on_progress)

    def video_to_video(
        self,
        prompt: str,
        target: str | Path,
        video: Media | None = None,
        *,
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[ChangeOptions],
    ) -> Task:
        """Make all of `video`, or of a `source_task`, anew, from as much of it as you say, and save it as `target`."""
        return self._make(prompt, GivenMedia("v2v", video), options, target, on_progress)

    def control_video(
        self,
        prompt: str,
        target: str | Path,
        video: Media | None = None,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        on_progress: operations.OnProgress | None = None,
        **options: Unpack[ControlOptions],
    ) -> Task:
        """Make a video that follows `video`, or that of a `source_task`, with an IC-LoRA, and save it as `target`."""
        given = GivenMedia("control", video, Images(image, end_image, keyframes))
        return self._make(prompt, given, options, target, on_progress)

    def submit_audio_to_video(
        self,
        prompt: str,
        audio: Media,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        key: str | None = None,
        **options: Unpack[AudioOptions],
    ) -> Submitted:
        """Submit what `audio_to_video` makes. `key` is as in `submit`."""
        return self._submit_media(prompt, GivenMedia("a2v", audio, Images(image, end_image)), options, key)

    def submit_retake(
        self, prompt: str, video: Media | None = None, *, key: str | None = None, **options: Unpack[RetakeOptions]
    ) -> Submitted:
        """Submit what `retake` makes. `key` is as in `submit`."""
        return self._submit_media(prompt, GivenMedia("retake", video), options, key)

    def submit_extend(
        self, prompt: str, video: Media | None = None, *, key: str | None = None, **options: Unpack[ExtendOptions]
    ) -> Submitted:
        """Submit what `extend` makes. `key` is as in `submit`."""
        return self._submit_media(prompt, GivenMedia("extend", video), options, key)

    def submit_video_to_video(
        self, prompt: str, video: Media | None = None, *, key: str | None = None, **options: Unpack[ChangeOptions]
    ) -> Submitted:
        """Submit what `video_to_video` makes. `key` is as in `submit`."""
        return self._submit_media(prompt, GivenMedia("v2v", video), options, key)

    def submit_control_video(
        self,
        prompt: str,
        video: Media | None = None,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        key: str | None = None,
        **options: Unpack[ControlOptions],
    ) -> Submitted:
        """Submit what `control_video` makes. `key` is as in `submit`."""
        given = GivenMedia("control", video, Images(image, end_image, keyframes))
        return self._submit_media(prompt, given, options, key)

    def estimate(
        self,
        prompt: str,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        **options: Unpack[Options],
    ) -> Estimate:
        """Estimate whether a task fits in GPU memory and how long it takes. Creates no task."""
        images = Images(image, end_image, keyframes)
        return self._run(operations.estimate(prompt, images, options, self._retry_policy))

    def enhance(
        self,
        prompt: str,
        *,
        image: Image | None = None,
        end_image: Image | None = None,
        keyframes: Sequence[Keyframe] = (),
        **options: Unpack[Options],
    ) -> EnhancedPrompt:
        """Let the server's language model rewrite a prompt. Creates no task."""
        images = Images(image, end_image, keyframes)
        return self._run(operations.enhance(prompt, images, options, self._retry_policy))

    def poll(self, task_id: str) -> Task:
        """Get the current state of a task, without waiting for its end."""
        return self._run(operations.poll(task_id, self._retry_policy))

    def wait(self, task_id: str, on_progress: operations.OnProgress | None = None) -> Task:
        """Poll until the task is completed. Calls `on_progress` with each poll. Raises TaskFailed."""
        return self._run(operations.wait(task_id, self._retry_policy, on_progress))

    def preview(self, task_id: str) -> bytes | None:
        """Get a small JPEG of the video so far, while it is denoised. None before the first one and at the end."""
        return self._run(operations.preview(task_id, self._retry_policy))

    def download(self, task: Task, target: str | Path, file: operations.File = "video") -> Path:
        """Save the video of a completed task, or another of its files, as `target`."""
        return self._run(operations.download(task, Path(target), file, self._retry_policy))

    def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task, or delete a finished task with its files."""
        return self._run(operations.cancel(task_id, self._retry_policy))

    def tasks(self, *states: str, limit: int = 20, cursor: str | None = None) -> TaskPage:
        """List tasks, newest first. Without `states`, of all states."""
        return self._run(operations.list_tasks(states, limit, cursor, self._retry_policy))

    def health(self) -> Health:
        """Get the health of the server. Sends one request, without retries."""
        return self._run(operations.health())

    def _make(
        self,
        prompt: str,
        given: GivenMedia,
        options: Mapping[str, object],
        target: str | Path,
        on_progress: operations.OnProgress | None,
    ) -> Task:
        submission = submit_media(prompt, given, options, operations.new_idempotency_key(), self._retry_policy)
        return self._run(operations.generate(submission, Path(target), self._retry_policy, on_progress))

    def _submit_media(
        self, prompt: str, given: GivenMedia, options: Mapping[str, object], key: str | None
    ) -> Submitted:
        key = key or operations.new_idempotency_key()
        return self._run(submit_media(prompt, given, options, key, self._retry_policy))

    def _run(self, operation: Operation[Result]) -> Result:
        came: Response | NoResponse | None = None
        try:
            while True:
                came = self._do(operation.send(came))
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            operation.close()

    def _do(self, what: Request | Sleep) -> Response | NoResponse | None:
        if isinstance(what, Sleep):
            time.sleep(what.seconds)
            return None
        try:
            return self._send(what)
        except Exception as error:  # httpx raises more exceptions than it documents
            return transport.describe_failure(self.server, error)

    def _send(self, call: Request) -> Response:
        request = transport.build_request(self._http, self.server, call, self._key)
        if call.sink is None:
            response = self._http.send(request)
            return transport.to_response(response, response.content)
        with contextlib.closing(self._http.send(request, stream=True)) as response:
            answer = transport.to_response(response)
            if not call.sink.begin(answer):
                return transport.to_response(response, response.read())
            for chunk in response.iter_raw():
                call.sink.write(chunk)
            return answer
