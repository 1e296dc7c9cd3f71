"""The parameters of a video: accepted values, rejected values, and their meaning."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.request.json_schema import request_schema
from models.request.negative_prompt import DEFAULT_NEGATIVE_PROMPT
from models.request.request import (
    DRAWN_SEED,
    MAX_SEED,
    RequestLimits,
    VideoRequest,
    parse_request,
    spell_number,
    unknown_fields,
)

LIMITS = RequestLimits()


def request(**fields: object) -> VideoRequest:
    return parse_request({"prompt": "a lighthouse at dusk", **fields}, LIMITS)


@pytest.mark.parametrize(
    ("frame_rate", "exact"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (47.95, Fraction(48000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
    ],
)
def test_ntsc_rates_are_their_exact_fractions(frame_rate, exact):
    assert VideoRequest(prompt="x", frame_rate=frame_rate).exact_frame_rate == exact


@pytest.mark.parametrize("frame_rate", [*range(1, 61), 120])
def test_a_whole_rate_stays_whole(frame_rate):
    assert VideoRequest(prompt="x", frame_rate=frame_rate).exact_frame_rate == frame_rate


@pytest.mark.parametrize("frame_rate", [0.999, 1.998, 4.995, 12.5, 14.985, 24.9, 25.5])
def test_other_rates_are_what_they_say(frame_rate):
    assert VideoRequest(prompt="x", frame_rate=frame_rate).exact_frame_rate == Fraction(str(frame_rate))


@given(st.floats(1, 60))
def test_no_rate_moves_by_more_than_the_ear_can_tell(frame_rate):
    exact = VideoRequest(prompt="x", frame_rate=frame_rate).exact_frame_rate
    assert abs(float(exact) - frame_rate) <= 0.005


@given(st.integers(1, 481))
def test_rendered_frames_are_the_next_8k_plus_1(num_frames):
    rendered = VideoRequest(prompt="x", num_frames=num_frames).num_rendered_frames
    assert rendered % 8 == 1
    assert num_frames <= rendered < num_frames + 8


def test_defaults_are_those_of_the_api():
    assert request().model_dump(exclude={"prompt", "negative_prompt", "fit"}) == {
        "height": 512,
        "width": 768,
        "num_frames": 121,
        "length": "exact",
        "frame_rate": 25.0,
        "num_inference_steps": 40,
        "seed": 42,
        "cfg_scale_video": 3.0,
        "stg_scale_video": 1.0,
        "cfg_scale_audio": 7.0,
        "modality_scale": 3.0,
        "quality": "exact",
        "generate_audio": True,
        "enhance_prompt": False,
        "loras": (),
        "camera_motion": None,
        "upscale": "none",
        "timeout_s": None,
        "webhook_url": None,
    }


def test_a_negative_prompt_that_is_left_out_is_the_model_s_list_and_an_empty_one_is_none():
    assert request().negative_prompt == DEFAULT_NEGATIVE_PROMPT
    assert request(negative_prompt="").negative_prompt == ""
    assert DEFAULT_NEGATIVE_PROMPT.startswith("has_subtitles, has_blurbox, transition from black, ")


def test_the_list_that_nobody_sent_breaks_no_bound_of_texts():
    assert parse_request({"prompt": "x"}, RequestLimits(max_prompt_chars=99)).negative_prompt == DEFAULT_NEGATIVE_PROMPT
    with pytest.raises(InvalidRequest, match="negative_prompt"):
        parse_request({"prompt": "x", "negative_prompt": "y" * 100}, RequestLimits(max_prompt_chars=99))


def test_zero_scales_stay_zero():
    scales = ("cfg_scale_video", "stg_scale_video", "cfg_scale_audio", "modality_scale")
    asked = request(**dict.fromkeys(scales, 0))
    assert [getattr(asked, name) for name in scales] == [0, 0, 0, 0]


def test_an_open_seed_is_drawn_anew_each_time():
    drawn = {request(seed=None).seed for _ in range(20)}
    assert len(drawn) > 1
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


def test_a_request_survives_the_way_through_its_row():
    asked = request(prompt='\x00 \U0001f3a5 quoted "words"\nand lines', frame_rate=29.97, seed=MAX_SEED)
    assert VideoRequest.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("given", "meant"), [(True, True), (False, False), ("false", False), ("True", True), ("", True)]
)
def test_generate_audio_is_true_or_false_also_as_a_form_field(given, meant):
    assert request(generate_audio=given).generate_audio is meant


@pytest.mark.parametrize("given", ["maybe", 2, -1, [], {}, 0.5])
def test_another_value_of_generate_audio_is_refused(given):
    with pytest.raises(InvalidRequest, match="generate_audio must be true or false") as refused:
        request(generate_audio=given)
    assert refused.value.field == "generate_audio"


def test_a_row_of_an_older_server_asks_for_audio():
    older = request().model_dump_json(exclude={"generate_audio"})
    assert VideoRequest.model_validate_json(older).generate_audio is True


def test_unknown_fields_are_named_in_order():
    assert unknown_fields({"prompt": "x", "steps": 1, "hight": 2}) == ["hight", "steps"]


@pytest.mark.parametrize(("name", "bounds"), LIMITS.bounds().items())
def test_bounds_belong_to_what_is_allowed(name, bounds):
    low, high = bounds
    fields = {"num_frames": 9, "height": 64, "width": 64}
    for value in (low, high):
        if (name, value) == ("seed", DRAWN_SEED):
            continue  # the value asks for a random seed
        if name == "frame_rate":
            fields["num_frames"] = 20 if value == low else 9
        assert getattr(request(**{**fields, name: value, **_slow_enough(name, value)}), name) == value
    for value in (low - 1, high + 1, low - 64, high + 64):
        with pytest.raises(InvalidRequest) as refused:
            request(**{**fields, name: value})
        assert refused.value.field == name
        assert spell_number(high) in refused.value.allowed


def _slow_enough(name: str, value: float) -> dict[str, object]:
    """481 frames fit into the longest duration only at a high rate."""
    return {"frame_rate": 25} if name == "num_frames" and value > 20 else {}


def test_a_video_of_too_many_pixels_is_refused_with_the_frames_that_fit():
    with pytest.raises(InvalidRequest) as refused:
        request(height=1920, width=1920, num_frames=273)
    assert (refused.value.field, refused.value.given) == ("num_frames", "273")
    assert "at most 272 at 1920x1920" in refused.value.allowed
    assert request(height=1920, width=1920, num_frames=272).num_frames == 272


@pytest.mark.parametrize(
    ("width", "height", "seconds", "frame_rate"),
    [(1920, 1088, 6, 24), (1920, 1088, 6, 25), (1088, 1920, 10, 25), (1280, 704, 12, 25), (1920, 1088, 20, 24)],
)
def test_the_first_requests_of_hosted_clients_are_within_the_limits(width, height, seconds, frame_rate):
    asked = request(width=width, height=height, num_frames=seconds * frame_rate, frame_rate=frame_rate)
    assert asked.duration_s == seconds


def test_a_video_that_plays_too_long_is_refused_with_the_frames_that_fit():
    with pytest.raises(InvalidRequest, match="at most 241 at 12 frames per second"):
        request(num_frames=242, frame_rate=12)
    assert request(num_frames=241, frame_rate=12).num_frames == 241


def test_the_schema_has_the_bounds_of_this_server():
    schema = request_schema(RequestLimits(max_side_px=1024, max_inference_steps=50, max_prompt_chars=99))
    properties = schema["properties"]
    assert (properties["height"]["minimum"], properties["height"]["maximum"]) == (64, 1024)
    assert properties["num_inference_steps"]["maximum"] == 50
    assert properties["prompt"]["maxLength"] == 99
    assert all(described.get("description") for described in properties.values())
    assert all("default" in described for name, described in properties.items() if name != "prompt")
