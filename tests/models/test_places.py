"""The places of given images: accepted values, rejected values with the bound, and their meaning."""

import pytest

from models.errors import InvalidRequest
from models.request.places import LAST, MAX_KEYFRAMES, Place, parse_places
from models.request.request import VideoRequest

REQUEST = VideoRequest(prompt="waves", num_frames=49, frame_rate=24.0)
KEYFRAME = ["keyframe"]


def places(images: list[str], request: VideoRequest = REQUEST, **fields: object) -> list[tuple[int, float]]:
    return [(each.frame, each.strength) for each in parse_places(fields, request, images)]


def test_the_images_at_both_ends_are_whole_where_nothing_is_said() -> None:
    assert places(["image"]) == [(0, 1.0)]
    assert places(["image", "end_image"]) == [(0, 1.0), (48, 1.0)]
    assert places(["end_image"], end_image_strength="0.5") == [(48, 0.5)]
    assert places(["image", "end_image"], image_strength=0, end_image_strength=0.25) == [(0, 0.0), (48, 0.25)]


@pytest.mark.parametrize(
    ("at", "frame"),
    [
        (12, 12),
        ("12", 12),
        (12.0, 12),
        (0, 0),
        (48, 48),
        (-1, 48),
        ("-1", 48),
        ("1s", 24),
        ("1.5s", 36),
        ("0.51 s", 12),
        ("2s", 48),
        ("0s", 0),
    ],
)
def test_a_keyframe_is_at_a_frame_or_at_a_time(at: object, frame: int) -> None:
    assert places(KEYFRAME, keyframe_at=at) == [(frame, 1.0)]
    assert places(KEYFRAME, keyframe_at=[at], keyframe_strength=["0.3"]) == [(frame, 0.3)]


def test_a_time_means_the_exact_rate() -> None:
    ntsc = VideoRequest(prompt="x", num_frames=481, frame_rate=23.976)
    assert places(KEYFRAME, ntsc, keyframe_at="10.01s") == [(240, 1.0)]


def test_the_last_frame_is_the_last_that_is_kept() -> None:
    assert places(["end_image"], VideoRequest(prompt="x", num_frames=50)) == [(49, 1.0)]


@pytest.mark.parametrize(
    "at", [49, -2, "49", "-2", "2.05s", "100s", 1.5, "", "x", "1.5", None, True, [], {}, "-1s", 2**70]
)
def test_what_is_no_place_in_the_video_is_refused_with_the_bound(at: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        places(["image", *KEYFRAME, *KEYFRAME], keyframe_at=[3, at])
    assert refused.value.field == "keyframe_at"
    assert "a frame from 0 to 48, -1 for the last one, or seconds from 0s to 2s" in refused.value.message


@pytest.mark.parametrize(
    ("images", "fields", "field", "said"),
    [
        (["image", "keyframe"], {"keyframe_at": [0]}, "keyframe_at", "frame 0 is that of image"),
        (["end_image", "keyframe"], {"keyframe_at": "-1"}, "keyframe_at", "frame 48 is that of end_image"),
        (["end_image", "keyframe"], {"keyframe_at": "2s"}, "keyframe_at", "frame 48 is that of end_image"),
        (["keyframe", "keyframe"], {"keyframe_at": ["1s", 24]}, "keyframe_at", "frame 24 is that of keyframe"),
    ],
)
def test_two_images_at_one_place_are_refused(images: list[str], fields: dict, field: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        places(images, **fields)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("images", "fields", "field", "said"),
    [
        (KEYFRAME, {}, "keyframe_at", "once for each keyframe, 1 in all; nothing"),
        (KEYFRAME, {"keyframe_at": [1, 2]}, "keyframe_at", "once for each keyframe, 1 in all; 2 of them"),
        (["image"], {"keyframe_at": [1]}, "keyframe_at", "once for each keyframe, 0 in all; 1 of them"),
        (
            KEYFRAME,
            {"keyframe_at": 1, "keyframe_strength": [1, 1]},
            "keyframe_strength",
            "once for each keyframe, 1 in all, or left out",
        ),
        (["image"], {"keyframe_strength": 0.5}, "keyframe_strength", "left out: there is no keyframe"),
        (["image"], {"end_image_strength": 0.5}, "end_image_strength", "left out: there is no end_image"),
        (["end_image"], {"image_strength": [0.5]}, "image_strength", "left out: there is no image"),
        (["image"], {"image_strength": [0.5, 0.6]}, "image_strength", "once for each image, 1 in all, or left out"),
        (KEYFRAME * 9, {"keyframe_at": list(range(9))}, "keyframe", f"at most {MAX_KEYFRAMES} images"),
    ],
)
def test_counts_that_do_not_match_are_refused(images: list[str], fields: dict, field: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        places(images, **fields)
    assert refused.value.field == field


@pytest.mark.parametrize("strength", [-0.1, 1.1, "x", "nan", "inf", True, {}, 10**400])
@pytest.mark.parametrize("field", ["image_strength", "end_image_strength", "keyframe_strength"])
def test_a_strength_outside_0_to_1_is_refused(field: str, strength: object) -> None:
    with pytest.raises(InvalidRequest, match="a number from 0 to 1") as refused:
        places(["image", "end_image", "keyframe"], keyframe_at=5, **{field: strength})
    assert refused.value.field == field


def test_what_a_filled_in_form_says_about_images_that_are_not_there_is_no_error() -> None:
    filled = {"end_image_strength": "1", "keyframe_at": [""], "keyframe_strength": ""}
    assert places(["image"], **filled) == [(0, 1.0)]


def test_where_the_model_chooses_the_length_only_the_ends_have_a_place() -> None:
    auto = VideoRequest(prompt="x", num_frames=49, length="auto")
    assert places(["image", "end_image"], auto) == [(0, 1.0), (LAST, 1.0)]
    assert places(KEYFRAME, auto, keyframe_at=-1) == [(LAST, 1.0)]
    with pytest.raises(InvalidRequest, match=r"0 or -1, because the model chooses the length \(length: auto\)"):
        places(KEYFRAME, auto, keyframe_at=12)


def test_the_last_frame_of_a_video_is_known_when_its_length_is() -> None:
    assert Place(LAST, 1.0).resolve(17) == 16
    assert Place(5, 1.0).resolve(17) == 5
