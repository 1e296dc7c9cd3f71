"""Turns the audio or the video of a request into what its task keeps, and the request into that of the result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from deployments.ingress.dimensions import count_most_frames, fit_size
from deployments.ingress.media.audio import LEAST_S
from deployments.ingress.media.child_process import read_audio_in_child, read_clip_in_child
from deployments.ingress.media.jobs import AudioJob, ClipBounds, ClipFacts, ClipJob
from deployments.ingress.request_body.given_media import (
    AUDIO_START,
    AUDIO_STRENGTH,
    DURATION,
    VIDEO,
    GivenMedia,
    MediaUse,
)
from models.errors import InvalidRequest
from models.request import edits
from models.request.adjustments import FROM_AUDIO, FROM_VIDEO, HDR_TO_SDR, WITHIN_BOUNDS, Adjustment
from models.request.control import CONTROL_STRENGTH, PREPROCESSOR, control_divisor, find_control, side_multiple
from models.request.edits import Edit, ExtendMode, RetakeMode, V2vMode
from models.request.enums import DurationMode, ImageFit, Preprocessor
from models.request.json_words import NOTHING, Described
from models.request.loose_values import is_blank, parse_number
from models.request.loras import KnownLora
from models.request.places import WHOLE, parse_strength
from models.request.request import FRAMES_PER_LATENT, RequestLimits, VideoRequest, spell_number, spell_seconds
from storage.inputs import InputAudio, InputControl, InputSource

SOURCE_PIXELS = 4096 * 2304
"""The most pixels in a frame of a client's video: those of 4K."""
LONGEST_AUDIO_S = 4 * 3600
LEAST_CONTEXT_FRAMES = 3 * FRAMES_PER_LATENT
"""About a second of the source: with less, the model cannot go on with its motion."""
RATE_TOLERANCE = 0.001
Choice = TypeVar("Choice", RetakeMode, ExtendMode, V2vMode, Preprocessor)


@dataclass(frozen=True)
class MediaFields:
    """The fields of an audio or a video, parsed: seconds, a mode and a strength. None is what was left out."""

    start_s: float = 0.0
    duration_s: float | None = None
    context_s: float | None = None
    strength: float = WHOLE
    retake_mode: RetakeMode = RetakeMode.AUDIO_AND_VIDEO
    extend_mode: ExtendMode = ExtendMode.END
    v2v_mode: V2vMode = V2vMode.VIDEO
    preprocessor: Preprocessor = Preprocessor.NONE


@dataclass(frozen=True)
class ReadMedia:
    """What the task keeps of its audio or video, its request, and where that differs from what was sent."""

    request: VideoRequest
    adjustments: tuple[Adjustment, ...]
    audio: InputAudio | None = None
    source: InputSource | None = None
    control: InputControl | None = None

    @property
    def edit(self) -> Edit | None:
        """Which part of the video is made anew, if there is a video."""
        return None if self.source is None else self.source.edit


def parse_media_fields(use: MediaUse, fields: Mapping[str, object], limits: RequestLimits) -> MediaFields:
    """Parse the fields of a use. Raises InvalidRequest."""
    match use:
        case MediaUse.A2V:
            return MediaFields(
                _number(fields, AUDIO_START, 0, LONGEST_AUDIO_S, 0.0) or 0.0,
                _number(fields, DURATION, LEAST_S, limits.max_duration_s),
                strength=parse_strength(AUDIO_STRENGTH, fields.get(AUDIO_STRENGTH)),
            )
        case MediaUse.RETAKE:
            return MediaFields(
                _number(fields, edits.START_TIME, 0, limits.max_edit_duration_s, 0.0) or 0.0,
                _number(fields, edits.DURATION, 0, limits.max_edit_duration_s),
                retake_mode=_choice(edits.MODE, fields, RetakeMode, RetakeMode.AUDIO_AND_VIDEO),
            )
        case MediaUse.EXTEND:
            duration_s = _number(fields, edits.DURATION, 0, limits.max_duration_s)
            if duration_s is None:
                raise InvalidRequest(edits.DURATION, NOTHING, _seconds(0, limits.max_duration_s))
            return MediaFields(
                duration_s=duration_s,
                context_s=_number(fields, edits.CONTEXT, 0, limits.max_edit_duration_s),
                extend_mode=_choice(edits.MODE, fields, ExtendMode, ExtendMode.END),
            )
        case MediaUse.V2V:
            strength = fields.get(edits.VIDEO_STRENGTH)
            strength = edits.DEFAULT_STRENGTH if is_blank(strength) else strength
            return MediaFields(
                strength=parse_strength(edits.VIDEO_STRENGTH, strength),
                v2v_mode=_choice(edits.MODE, fields, V2vMode, V2vMode.VIDEO),
            )
        case MediaUse.CONTROL:
            return MediaFields(
                strength=parse_strength(CONTROL_STRENGTH, fields.get(CONTROL_STRENGTH)),
                preprocessor=_choice(PREPROCESSOR, fields, Preprocessor, Preprocessor.NONE),
            )


def read_given_media(
    given: GivenMedia, path: Path, request: VideoRequest, limits: RequestLimits, known: Mapping[str, KnownLora]
) -> ReadMedia:
    """Read the file at `path` in a child process. Blocks for seconds. Raises InvalidRequest, ReaderLost."""
    fields, target = parse_media_fields(given.use, given.fields, limits), path.with_name("written")
    if given.use is MediaUse.A2V:
        return _read_audio(given, fields, AudioJob(path, target, fields.start_s, fields.duration_s, 0), request, limits)
    if given.use is MediaUse.CONTROL:
        job = ClipJob(path, target, _bounds(limits, limits.max_duration_s, 0.0), is_control=True)
        return _read_control(given, fields, job, request, limits=limits, known=known)
    added_s = (fields.duration_s or 0.0) if given.use is MediaUse.EXTEND else 0.0
    most_s = limits.max_duration_s if given.use is MediaUse.V2V else limits.max_edit_duration_s
    facts = read_clip_in_child(ClipJob(path, target, _bounds(limits, most_s, added_s)))
    request = request.model_copy(update=_shape_of(facts))
    if given.use is MediaUse.EXTEND:
        mode, context_s = fields.extend_mode, fields.context_s
        edit, total = edits.extend(request.num_frames, request.exact_frame_rate, added_s, mode, context_s)
        request = request.model_copy(update={"num_frames": total})
    else:
        edit = _edit_within(given.use, fields, request, limits)
    _check_least_frames(request, limits, facts.num_frames)
    edit = _with_context_that_fits(edit, request, limits)
    adjusted = (*_replaced(given.replaced, request, FROM_VIDEO), *_moved(facts))
    return ReadMedia(request, adjusted, source=InputSource(target.read_bytes(), edit))


def estimated_request(
    use: MediaUse, sent: Mapping[str, object], request: VideoRequest, limits: RequestLimits
) -> VideoRequest:
    """The request of the result: with audio of a known duration, as long as that. Raises InvalidRequest."""
    audio_s = parse_media_fields(use, sent, limits).duration_s if use is MediaUse.A2V else None
    return request if audio_s is None else _as_long_as(audio_s, request, limits)


def estimated_control(request: VideoRequest, reference_downscale_factor: int, limits: RequestLimits) -> VideoRequest:
    """The request of a result that follows a control video of the request's size."""
    width, height = fit_size(
        request.width,
        request.height,
        request.num_frames,
        most_side_px=limits.max_side_px,
        most_total_pixels=limits.max_total_pixels,
        multiple=side_multiple(control_divisor(request, reference_downscale_factor)),
    )
    return of_given_size(request.model_copy(update={"width": width, "height": height}))


def estimated_edit(
    use: MediaUse, sent: Mapping[str, object], request: VideoRequest, limits: RequestLimits
) -> Edit | None:
    """The edit of a result like `request`, from the fields of a use alone. Raises InvalidRequest."""
    fields, rate = parse_media_fields(use, sent, limits), request.exact_frame_rate
    if use in (MediaUse.A2V, MediaUse.CONTROL):
        return None
    if use is not MediaUse.EXTEND:
        return _with_context_that_fits(_edit_within(use, fields, request, limits), request, limits)
    added_s = fields.duration_s or 0.0
    source_frames = request.num_frames - round(added_s * rate)
    if source_frames < 1:
        most_s = spell_seconds(float((request.num_frames - 1) / rate))
        raise InvalidRequest(DURATION, added_s, f"at most {most_s} s, less than the result of num_frames")
    edit, _ = edits.extend(source_frames, rate, added_s, fields.extend_mode, fields.context_s)
    return _with_context_that_fits(edit, request, limits)


def _edit_within(use: MediaUse, fields: MediaFields, request: VideoRequest, limits: RequestLimits) -> Edit:
    """The edit of a result that is as long as its source. Raises InvalidRequest."""
    if use is MediaUse.V2V:
        _check_most_frames(request, limits)
        return edits.video_to_video(request.num_frames, fields.strength, fields.v2v_mode)
    rate, mode = request.exact_frame_rate, fields.retake_mode
    return edits.retake(request.num_frames, rate, fields.start_s, fields.duration_s, mode=mode)


def _check_most_frames(request: VideoRequest, limits: RequestLimits) -> None:
    """Raise InvalidRequest for a video that the model cannot render at once."""
    most = count_most_frames(request.model_dump(), limits)
    if request.num_frames > most:
        allowed = f"a video of at most {most} frames at {request.width}x{request.height}"
        raise InvalidRequest(VIDEO, Described(f"a video of {request.num_frames} frames"), allowed)


def _check_least_frames(request: VideoRequest, limits: RequestLimits, num_frames: int) -> None:
    """Raise InvalidRequest for a video of `num_frames` frames of which the result is too short."""
    if request.num_frames < limits.min_frames:
        given = Described(f"a video of {num_frames} frames")
        raise InvalidRequest(VIDEO, given, f"a video with which the result has {limits.min_frames} frames")


def _read_control(
    given: GivenMedia,
    fields: MediaFields,
    job: ClipJob,
    request: VideoRequest,
    *,
    limits: RequestLimits,
    known: Mapping[str, KnownLora],
) -> ReadMedia:
    """Write the control video in the size that its LoRA needs. The result has its shape, rate and length."""
    lora = find_control(request, known)
    factor = known[lora].reference_downscale_factor
    divisor = control_divisor(request, factor)
    bounds, edges = replace(job.bounds, side_multiple=side_multiple(divisor)), fields.preprocessor is Preprocessor.CANNY
    facts = read_clip_in_child(replace(job, bounds=bounds, divisor=divisor, edges=edges))
    sent, request = request, of_given_size(request.model_copy(update=_shape_of(facts)))
    _check_least_frames(request, limits, facts.num_frames)
    _check_most_frames(request, limits)
    adjusted = (*_replaced(given.replaced, request, FROM_VIDEO), *_fitted(sent, request), *_moved(facts))
    control = InputControl(job.target.read_bytes(), lora, fields.strength, factor)
    return ReadMedia(request, adjusted, control=control)


def _read_audio(
    given: GivenMedia, fields: MediaFields, job: AudioJob, request: VideoRequest, limits: RequestLimits
) -> ReadMedia:
    rate = request.exact_frame_rate
    most = count_most_frames(request.model_dump(), limits)
    most_s = float(most / rate)
    if fields.duration_s is not None and fields.duration_s > most_s + float(1 / rate):
        at = f"at {request.width}x{request.height} and {request.frame_rate:g} frames per second"
        raise InvalidRequest(DURATION, fields.duration_s, f"a number from {LEAST_S} to {spell_seconds(most_s)} {at}")
    facts = read_audio_in_child(replace(job, most_s=most_s))
    request = _as_long_as(facts.duration_s, request, limits)
    adjusted = list(_replaced(given.replaced, request, FROM_AUDIO))
    if fields.duration_s is None and facts.rest_s > facts.duration_s + float(1 / rate):
        adjusted.append(Adjustment(DURATION, round(facts.rest_s, 3), round(facts.duration_s, 3), WITHIN_BOUNDS))
    return ReadMedia(request, tuple(adjusted), audio=InputAudio(job.target.read_bytes(), fields.strength))


def _as_long_as(audio_s: float, request: VideoRequest, limits: RequestLimits) -> VideoRequest:
    """The request of a video for so much audio, or for as much of it as fits. Raises InvalidRequest."""
    most = count_most_frames(request.model_dump(), limits)
    count = min(most, max(1, round(audio_s * request.exact_frame_rate)))
    if count < limits.min_frames:
        allowed = f"long enough for {limits.min_frames} frames at {request.frame_rate:g} frames per second"
        raise InvalidRequest(DURATION, round(audio_s, 3), allowed)
    return request.model_copy(update={"num_frames": count, "length": DurationMode.EXACT})


def _bounds(limits: RequestLimits, most_s: float, added_s: float) -> ClipBounds:
    """The bounds of a source to which `added_s` seconds are added, for a result of at most `most_s` seconds."""
    return ClipBounds(
        most_s=max(0.0, most_s - added_s),
        added_s=added_s,
        most_side_px=limits.max_side_px,
        most_total_pixels=limits.max_total_pixels,
        most_source_pixels=SOURCE_PIXELS,
        least_rate=limits.min_frame_rate,
        most_rate=limits.max_frame_rate,
    )


def _shape_of(facts: ClipFacts) -> dict[str, object]:
    return {
        "width": facts.width,
        "height": facts.height,
        "frame_rate": facts.frame_rate,
        "num_frames": facts.num_frames,
        "length": DurationMode.EXACT,
    }


def _with_context_that_fits(edit: Edit, request: VideoRequest, limits: RequestLimits) -> Edit:
    """The edit, with so much of the source as context that the model can render it. Raises InvalidRequest."""
    most = count_most_frames(request.model_dump(), limits)
    if len(edit.rendered(request.num_frames)) <= most:
        return edit
    room = most - (edit.end_frame - edit.start_frame)
    sides = (edit.start_frame > 0) + (edit.end_frame < request.num_frames)
    context = room // max(1, sides)
    if context < FRAMES_PER_LATENT:
        most_s = spell_seconds((most - sides * FRAMES_PER_LATENT) / request.exact_frame_rate)
        given_s = spell_seconds((edit.end_frame - edit.start_frame) / request.frame_rate)
        raise InvalidRequest(DURATION, given_s, f"at most {most_s} seconds")
    return replace(edit, context=context if edit.context is None else min(edit.context, context))


def less_context(edit: Edit, num_frames: int) -> Edit | None:
    """The same edit with half as much context, for a GPU that cannot hold it all; None if that is too little."""
    rendered = edit.rendered(num_frames)
    shown = max(edit.start_frame - rendered.start, rendered.stop - edit.end_frame)
    return replace(edit, context=shown // 2) if shown // 2 >= LEAST_CONTEXT_FRAMES else None


def of_given_size(request: VideoRequest) -> VideoRequest:
    """The request of a video whose size is given: no image decides it."""
    return request.model_copy(update={"fit": ImageFit.CROP}) if request.fit is ImageFit.MATCH else request


def _fitted(sent: VideoRequest, request: VideoRequest) -> Iterator[Adjustment]:
    if sent.fit is not request.fit:
        yield Adjustment("fit", str(sent.fit), str(request.fit), FROM_VIDEO)


def _replaced(sent: Mapping[str, object], request: VideoRequest, reason: str) -> Iterator[Adjustment]:
    """The parameters that the client sent and that follow from the file."""
    for name, given in sent.items():
        used = getattr(request, name)
        number = parse_number(given)
        if is_blank(given) or name == "fit" or (number is not None and number == used) or str(given) == str(used):
            continue
        yield Adjustment(name, number if number is not None else str(given)[:64], used, reason)


def _moved(facts: ClipFacts) -> Iterator[Adjustment]:
    """What the video has and the result cannot have."""
    if facts.source_width != facts.width:
        yield Adjustment("width", facts.source_width, facts.width, WITHIN_BOUNDS)
    if facts.source_height != facts.height:
        yield Adjustment("height", facts.source_height, facts.height, WITHIN_BOUNDS)
    if abs(facts.source_rate - facts.frame_rate) > RATE_TOLERANCE:
        yield Adjustment("frame_rate", round(facts.source_rate, 3), facts.frame_rate, WITHIN_BOUNDS)
    if facts.is_hdr:
        yield Adjustment("video", "HDR", "SDR", HDR_TO_SDR)


def _number(
    fields: Mapping[str, object], name: str, low: float, high: float, default: float | None = None
) -> float | None:
    value = fields.get(name)
    if is_blank(value):
        return default
    number = parse_number(value)
    if number is None or not low <= number <= high:
        raise InvalidRequest(name, value, _seconds(low, high))
    return number


def _seconds(low: float, high: float) -> str:
    return f"a number of seconds from {spell_number(low)} to {spell_number(high)}"


def _choice(name: str, fields: Mapping[str, object], choices: type[Choice], default: Choice) -> Choice:
    value = fields.get(name)
    if is_blank(value):
        return default
    try:
        return choices(str(value))
    except ValueError:
        raise InvalidRequest(name, value, f"one of {', '.join(choices)}") from None
