"""Tasks that are made from an audio or a video: audio to video, retake, extend, video to video, control video."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from ltx2_client.core import Operation, Request, RetryPolicy, send_with_retry
from ltx2_client.errors import UsageError
from ltx2_client.operations import NO_IMAGES, Images, Options, form_of, parse, reason_of
from ltx2_client.responses import Submitted

MEDIA_TIMEOUT_S = 150.0
"""The server reads and converts the whole file before it answers a submit."""
Media = str | Path | bytes
"""A file by its path, or its content."""


class AudioOptions(Options, total=False):
    """The parameters of audio to video. Times are in seconds."""

    audio_start: float
    duration: float
    audio_strength: float


class RetakeOptions(Options, total=False):
    """The parameters of a retake. The window is in seconds of the source."""

    start_time: float
    duration: float
    mode: Literal["replace_audio_and_video", "replace_video", "replace_audio"]


class ExtendOptions(Options, total=False):
    """The parameters of an extend. `duration` is that of the new part, in seconds."""

    duration: float
    mode: Literal["end", "start"]
    context: float


class ChangeOptions(Options, total=False):
    """The parameters of video to video. `video_strength` says how much stays: 0 is nothing, 1 is all."""

    video_strength: float
    mode: Literal["replace_video", "replace_audio_and_video"]


class ControlOptions(Options, total=False):
    """The parameters of a video that follows a control video. `loras` picks the IC-LoRA for it."""

    control_strength: float
    preprocessor: Literal["none", "canny"]


@dataclass(frozen=True)
class GivenMedia:
    """What a video is made from: a file for the field `name`, or a task that the options name as `source_task`."""

    use: Literal["a2v", "retake", "extend", "v2v", "control"]
    file: Media | None
    images: Images = NO_IMAGES

    @property
    def name(self) -> str:
        """The field of the file."""
        return "audio" if self.use == "a2v" else "video"

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[tuple[str, tuple[str, bytes | BinaryIO]]]]:
        """The files of a form. A path is opened, and read while it is sent. Raises UsageError."""
        images: list[tuple[str, tuple[str, bytes | BinaryIO]]] = [*self.images.files()]
        if self.file is None:
            yield images
        elif isinstance(self.file, bytes):
            yield [(self.name, (self.name, self.file)), *images]
        else:
            with _open(Path(self.file)) as file:
                yield [(self.name, (Path(self.file).name, file)), *images]


def submit_media(
    prompt: str, given: GivenMedia, options: Mapping[str, object], key: str, retry_policy: RetryPolicy
) -> Operation[Submitted]:
    """Submit a task that is made from an audio or a video. `key` makes it safe to repeat the request."""
    fields, path = {"prompt": prompt, **options}, f"/v1/video/async_{given.use}"
    with given.opened() as files:
        form = {**form_of(fields), **given.images.form()}
        body = {"form": form, "files": files} if files else {"json": fields}
        call = Request("POST", path, headers={"Idempotency-Key": key}, timeout_s=MEDIA_TIMEOUT_S, **body)
        answer = yield from send_with_retry(call, retry_policy)
    return parse(Submitted, answer)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {reason_of(error)}") from error
