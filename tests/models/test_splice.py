"""Promise: outside the window a result has the source's own frames and samples, and no jump at the window's ends."""

from fractions import Fraction

import numpy as np
import pytest

from models.conditions import AudioCondition, ClipCondition, Conditions
from models.request.edits import Edit
from models.splice import FADE_FRAMES, FADE_S, Made, finish_clip, splice_audio, splice_frames
from models.waveform import Waveform
from tests.models.conftest import small

RATE = Fraction(25)
HZ = 8000
OLD, NEW = 50, 200


def flat(count: int, value: int) -> np.ndarray:
    return np.full((count, 6, 4), value, np.uint8)


def tone(seconds: Fraction, value: float, *, channels: int = 2, hz: int = HZ) -> Waveform:
    return Waveform(np.full((channels, round(seconds * hz)), value, np.float32), hz)


def given(edit: Edit, *, frames: int = 50, audio: Waveform | None = None) -> ClipCondition:
    return ClipCondition(flat(frames, OLD), audio, edit)


def levels(frames: np.ndarray) -> list[int]:
    assert (frames == frames[:, :1, :1]).all()
    return [int(level) for level in frames[:, 0, 0]]


def test_a_window_within_the_source_fades_in_and_out() -> None:
    found = levels(splice_frames(flat(50, NEW), given(Edit(10, 30)), 50))
    assert found[:10] == [OLD] * 10
    assert found[30:] == [OLD] * 20
    assert found[10:14] == [80, 110, 140, 170]
    assert found[26:30] == [170, 140, 110, 80]
    assert found[14:26] == [NEW] * 12


@pytest.mark.parametrize(("edit", "made_at"), [(Edit(0, 20), 0), (Edit(30, 50), 49)])
def test_a_window_at_an_end_has_one_seam(edit: Edit, made_at: int) -> None:
    found = levels(splice_frames(flat(50, NEW), given(edit), 50))
    assert found[made_at] == NEW
    assert found.count(NEW) == 20 - FADE_FRAMES
    assert found.count(OLD) == 30


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_window_has_something_new(count: int) -> None:
    found = levels(splice_frames(flat(50, NEW), given(Edit(10, 10 + count)), 50))
    assert max(found) > OLD
    assert found.count(OLD) == 50 - count


def test_an_extend_shows_the_source_and_then_what_was_made() -> None:
    end = levels(splice_frames(flat(75, NEW), given(Edit(38, 75)), 75))
    assert (end[:38], end[42:]) == ([OLD] * 38, [NEW] * 33)
    start = levels(splice_frames(flat(75, NEW), given(Edit(0, 37, source_at=25)), 75))
    assert (start[:33], start[37:]) == ([NEW] * 33, [OLD] * 38)


def test_what_was_made_with_a_context_is_at_its_place() -> None:
    edit = Edit(38, 75, context=8)
    made = np.concatenate([flat(8, 0), flat(37, NEW)])
    found = levels(splice_frames(made, given(edit), 75))
    assert (found[:38], found[42:]) == ([OLD] * 38, [NEW] * 33)


def test_a_source_that_is_too_short_is_continued_with_its_last_frame() -> None:
    assert levels(splice_frames(flat(50, NEW), given(Edit(0, 20), frames=45), 50))[20:] == [OLD] * 30


def test_without_new_frames_all_are_the_source_s() -> None:
    assert levels(splice_frames(None, given(Edit(0, 50, replaces_video=False)), 50)) == [OLD] * 50


def test_audio_fades_over_40_ms_on_each_side() -> None:
    old, new = tone(Fraction(2), 0.0), tone(Fraction(2), 1.0)
    found = splice_audio(new, given(Edit(10, 30), audio=old), 50, RATE)
    assert found is not None
    start, end, fade = round(10 / RATE * HZ), round(30 / RATE * HZ), round(FADE_S * HZ)
    assert not found.samples[:, :start].any()
    assert not found.samples[:, end:].any()
    assert (found.samples[:, start + fade : end - fade] == 1).all()
    assert np.abs(np.diff(found.samples)).max() < 1.1 / fade


def test_the_source_s_samples_are_its_own_at_a_lower_rate_of_the_model() -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, (2, 2 * 48_000)).astype(np.float32)
    found = splice_audio(tone(Fraction(2), 0.5), given(Edit(10, 30), audio=Waveform(noise, 48_000)), 50, RATE)
    assert found is not None
    assert found.sample_rate_hz == 48_000
    assert np.array_equal(found.samples[:, : 48_000 * 10 // 25], noise[:, : 48_000 * 10 // 25])


def test_a_silent_source_stays_silent_outside_the_window() -> None:
    found = splice_audio(tone(Fraction(2), 1.0), given(Edit(25, 50)), 50, RATE)
    assert found is not None
    assert not found.samples[:, :HZ].any()
    assert found.samples[:, -HZ // 2 :].all()
    assert splice_audio(None, given(Edit(25, 50)), 50, RATE) is None


def test_audio_of_a_source_that_begins_later_is_at_its_place() -> None:
    found = splice_audio(None, given(Edit(0, 37, source_at=25), audio=tone(Fraction(2), 1.0)), 75, RATE)
    assert found is not None
    assert found.samples.shape == (2, 3 * HZ)
    assert not found.samples[:, :HZ].any()
    assert found.samples[:, HZ:].all()


def test_given_audio_is_as_long_as_the_video() -> None:
    made = Made(np.zeros((50, 64, 128, 3), np.uint8), None, 24_000)
    for seconds in (1, 3):
        conditions = Conditions(audio=AudioCondition(tone(Fraction(seconds), 0.5, channels=1)))
        clip = finish_clip(made, conditions, small(num_frames=50, frame_rate=25.0))
        assert clip.audio is not None
        assert clip.audio.shape == (1, 2 * HZ)
        assert clip.audio.any(axis=0).sum() == min(seconds, 2) * HZ
