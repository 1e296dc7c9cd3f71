"""Differences between a request and what the checkpoint can render, reported to the client. Does not import torch.

There are two reasons: the checkpoint cannot use the given value, or a parameter was left out and the checkpoint has
another default.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.checkpoint.profile import CheckpointProfile
from models.request.edits import Edit
from models.request.enums import CHOICES, DurationMode, Quality
from models.request.request import VideoRequest

FIXED_STEPS = "a distilled model has fixed steps"
NO_GUIDANCE = "a distilled model has its guidance built in"
NO_DURATION_HEAD = "the model cannot tell how long a video should be"
CHOSEN = "the model chose it for this prompt"
TRUNCATED = "the model reads no more of a text, and leaves out its end"
ENHANCED = "a language model rewrote it, as enhance_prompt asks"
FROM_AUDIO = "the length follows from the audio"
FROM_VIDEO = "the result has the size, the rate and the length of the video"
WITHIN_BOUNDS = "the nearest that the model can render within the limits"
STEPS_RUN = "it starts from a video, and leaves out the first steps"
HDR_TO_SDR = "the model renders standard dynamic range; the colors were tone mapped"
AT_SUBMIT = (ENHANCED, FROM_AUDIO, FROM_VIDEO, WITHIN_BOUNDS, HDR_TO_SDR)
"""Reasons for what the request of a task has already."""
OWN_DEFAULT = "it was left out, and this is the model's own default"


@dataclass(frozen=True)
class Adjustment:
    """A field that is rendered with another value than the request has. `given` is None if it was left out."""

    field: str
    given: float | str | None
    used: float | str
    reason: str


def find_adjustments(request: VideoRequest, profile: CheckpointProfile) -> tuple[Adjustment, ...]:
    """The changes to `request` for a checkpoint with this profile. Each field changes at most once."""
    return (*_defaults(request, profile), *_refused(request, profile))


def enhanced_prompt(given: str, used: str) -> Adjustment:
    """The record of a prompt that a language model has rewritten."""
    return Adjustment("prompt", given, used, ENHANCED)


def failed_enhancement(why: str) -> Adjustment:
    """The record of a prompt that is used as it was given, although `enhance_prompt` asks for another."""
    return Adjustment("enhance_prompt", True, False, f"{why}; the prompt is used as you gave it")


def made_at_submit(adjustments: Iterable[Adjustment]) -> tuple[Adjustment, ...]:
    """The adjustments that do not come from the model, which cannot find them again."""
    return tuple(each for each in adjustments if each.reason in AT_SUBMIT or each.field == "enhance_prompt")


def visible_to_client(adjustments: Iterable[Adjustment]) -> list[Adjustment]:
    """The adjustments to report to the client: those of values that it gave."""
    return [each for each in adjustments if each.given is not None]


def apply_adjustments(request: VideoRequest, adjustments: Iterable[Adjustment]) -> VideoRequest:
    """The request as it is rendered.

    A truncated text stays unchanged here: the model truncates it itself. What was made at submit is in the request.
    """
    changed = [each for each in adjustments if each.reason not in (TRUNCATED, *AT_SUBMIT)]
    return request.model_copy(update={each.field: _as_field(each.field, each.used) for each in changed})


def _as_field(name: str, used: float | str) -> float | str:
    """The value with the request's type: text from a task row becomes an enum member."""
    return CHOICES[name](str(used)) if name in CHOICES else used


def _defaults(request: VideoRequest, profile: CheckpointProfile) -> Iterator[Adjustment]:
    for field, used in profile.defaults.items():
        if field not in request.model_fields_set and getattr(request, field) != used:
            yield Adjustment(field, None, used, OWN_DEFAULT)


def chosen_duration(request: VideoRequest, num_frames: int) -> tuple[Adjustment, ...]:
    """The adjustment for a request that left its length to the model, after a render of `num_frames` frames."""
    if request.length is DurationMode.EXACT or request.num_frames == num_frames:
        return ()
    return (Adjustment("num_frames", None, num_frames, CHOSEN),)


def left_out_steps(request: VideoRequest, edit: Edit | None) -> tuple[Adjustment, ...]:
    """The steps that are run, for a video that starts from a source. `request` has its adjustments applied."""
    used = request if edit is None else edit.with_steps_run(request)
    if used.num_inference_steps == request.num_inference_steps:
        return ()
    return (Adjustment("num_inference_steps", None, used.num_inference_steps, STEPS_RUN),)


def truncation(field: str, tokens: int, most: int) -> Adjustment:
    """The adjustment for a text with more tokens than the model reads. It gives token counts, not the text."""
    return Adjustment(field, f"{tokens} tokens", f"{most} tokens", TRUNCATED)


def _refused(request: VideoRequest, profile: CheckpointProfile) -> Iterator[Adjustment]:
    if request.length is DurationMode.AUTO and not profile.duration_head:
        yield Adjustment("length", DurationMode.AUTO.value, DurationMode.EXACT.value, NO_DURATION_HEAD)
    if profile.sigmas is None:
        return
    fixed: dict[str, float | str] = {**profile.defaults, "negative_prompt": "", "quality": Quality.EXACT}
    for field, used in fixed.items():
        given: float | str = getattr(request, field)
        if field in request.model_fields_set and given != used:
            yield Adjustment(field, given, used, FIXED_STEPS if field == "num_inference_steps" else NO_GUIDANCE)
