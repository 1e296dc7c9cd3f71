"""Where a checkpoint renders something else than a request holds: said, and not passed over in silence. Knows no torch.

Two reasons: it cannot use what was asked for, or a parameter was left out and its own default is another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.checkpoint.profile import CheckpointProfile
from models.request.enums import CHOICES, DurationMode, Quality
from models.request.request import VideoRequest

FIXED_STEPS = "a distilled model has fixed steps"
NO_GUIDANCE = "a distilled model has its guidance built in"
NO_DURATION_HEAD = "the model cannot tell how long a video should be"
CHOSEN = "the model chose it for this prompt"
TRUNCATED = "the model reads no more of a text, and leaves out its end"
OWN_DEFAULT = "it was left out, and this is the model's own default"


@dataclass(frozen=True)
class Adjustment:
    """A field that is rendered with another value than the request has. `given` is None where it was left out."""

    field: str
    given: float | str | None
    used: float | str
    reason: str


def find_adjustments(request: VideoRequest, profile: CheckpointProfile) -> tuple[Adjustment, ...]:
    """What must change in `request` for a checkpoint with this profile. Nothing changes twice."""
    return (*_defaults(request, profile), *_refused(request, profile))


def visible_to_client(adjustments: Iterable[Adjustment]) -> list[Adjustment]:
    """Those that a client should hear of: it asked for something else."""
    return [each for each in adjustments if each.given is not None]


def apply_adjustments(request: VideoRequest, adjustments: Iterable[Adjustment]) -> VideoRequest:
    """The request as it is rendered. A text that is cut short goes to the model as it is, which does that itself."""
    changed = [each for each in adjustments if each.reason != TRUNCATED]
    return request.model_copy(update={each.field: _as_field(each.field, each.used) for each in changed})


def _as_field(name: str, used: float | str) -> float | str:
    """The value as the request has it: a word that was read from a row is one of its choices."""
    return CHOICES[name](str(used)) if name in CHOICES else used


def _defaults(request: VideoRequest, profile: CheckpointProfile) -> Iterator[Adjustment]:
    for field, used in profile.defaults.items():
        if field not in request.model_fields_set and getattr(request, field) != used:
            yield Adjustment(field, None, used, OWN_DEFAULT)


def chosen_duration(request: VideoRequest, num_frames: int) -> tuple[Adjustment, ...]:
    """What a render of `num_frames` tells about a request that left its length to the model."""
    if request.length is DurationMode.EXACT or request.num_frames == num_frames:
        return ()
    return (Adjustment("num_frames", None, num_frames, CHOSEN),)


def truncation(field: str, tokens: int, most: int) -> Adjustment:
    """A text of more tokens than the model reads: told by their number, as a client knows its text."""
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
