"""The part of a video that is made anew, from seconds: frames of the result, and what is refused."""

from fractions import Fraction

import pytest

from models.errors import InvalidRequest
from models.request.edits import Edit, ExtendMode, RetakeMode, V2vMode, extend, retake, video_to_video
from tests.models.conftest import small

RATE = Fraction(24)


@pytest.mark.parametrize(
    ("start_s", "duration_s", "window"),
    [
        (0, None, (0, 49)),
        (1, 0.5, (24, 36)),
        (1, None, (24, 49)),
        (2, 1 / 24, (48, 49)),
        (1, 25 / 24, (24, 49)),
        (1, 26 / 24, (24, 49)),
    ],
)
def test_a_retake_s_window(start_s: float, duration_s: float | None, window: tuple[int, int]) -> None:
    assert retake(49, RATE, start_s, duration_s) == Edit(*window)


def test_a_retake_s_mode_says_what_is_made_anew() -> None:
    assert retake(49, RATE, mode=RetakeMode.AUDIO) == Edit(0, 49, replaces_video=False)
    assert retake(49, RATE, mode=RetakeMode.VIDEO) == Edit(0, 49, replaces_audio=False)


@pytest.mark.parametrize(
    ("field", "start_s", "duration_s"),
    [
        ("start_time", -1, None),
        ("start_time", 49 / 24, None),
        ("start_time", float("nan"), None),
        ("duration", 1, 0),
        ("duration", 1, -1),
        ("duration", 1, 2),
        ("duration", 1, float("inf")),
    ],
)
def test_a_window_outside_the_video_is_refused(field: str, start_s: float, duration_s: float | None) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field} must be a number of seconds from"):
        retake(49, RATE, start_s, duration_s)


def test_an_extend_adds_at_either_end_and_makes_half_a_second_of_the_source_anew() -> None:
    assert extend(49, RATE, 2) == (Edit(37, 97), 97)
    assert extend(49, RATE, 2, ExtendMode.START) == (Edit(0, 60, source_at=48), 97)
    assert extend(5, RATE, 1) == (Edit(1, 29), 29)


def test_a_context_bounds_what_is_rendered() -> None:
    """Its seconds are those of the source that the model sees, with the feather."""
    edit, total = extend(480, RATE, 1, context_s=1)
    assert edit.rendered(total) == range(456, 504)
    assert edit.rendered_request(small(num_frames=total)).num_frames == 48
    edit, total = extend(480, RATE, 1, ExtendMode.START, context_s=1)
    assert edit.rendered(total) == range(48)
    assert retake(480, RATE, 5, 1, context_s=1).rendered(480) == range(96, 168)
    assert retake(480, RATE, 5, 1).rendered(480) == range(480)


@pytest.mark.parametrize(("field", "duration_s", "context_s"), [("duration", 0, None), ("context", 1, 0.5)])
def test_an_extend_by_nothing_or_without_context_is_refused(
    field: str, duration_s: float, context_s: float | None
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field} must be "):
        extend(49, RATE, duration_s, context_s=context_s)


def test_video_to_video_has_all_frames_in_its_window() -> None:
    assert video_to_video(49, 0.3) == Edit(0, 49, replaces_audio=False, strength=0.3)
    assert video_to_video(49, 0.3, V2vMode.AUDIO_AND_VIDEO) == Edit(0, 49, strength=0.3)


@pytest.mark.parametrize("steps", [2, 8, 30])
def test_the_more_of_a_source_stays_the_fewer_steps_are_run(steps: int) -> None:
    counts = [video_to_video(49, hundredths / 100).count_steps(steps) for hundredths in range(101)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == steps
    assert max(counts[1:]) == steps - 1
    assert counts[-1] == 1
    assert counts[50] == steps // 2
    assert retake(49, RATE).count_steps(steps) == steps


def test_a_strength_stays_when_the_edit_is_moved_into_its_render() -> None:
    edit = Edit(20, 30, context=8, strength=0.5)
    assert edit.within(edit.rendered(49)) == Edit(8, 18, source_at=-12, strength=0.5)
