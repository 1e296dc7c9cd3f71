"""Promise: a request's memory is known before it starts, and a request that does not fit gets alternatives."""

import pickle

import pytest

from models.conditions import GivenTokens, tokens_of
from models.errors import DoesNotFit
from models.memory.estimate import (
    CUDA_BYTES,
    GB,
    check_fits,
    check_tiny_fits,
    decode_bytes,
    denoise_bytes,
    encode_bytes,
    estimate_peak,
    nearest_fitting,
    shape_of,
    text_bytes,
    tiled_decode_bytes,
    tiled_encode_bytes,
    tiny_bytes,
    transformer_calls,
    video_tokens,
)
from models.memory.offload_plan import RESERVED_VRAM_BYTES
from models.request.edits import Edit
from models.request.enums import Quality
from models.request.request import RequestLimits, VideoRequest, parse_request

DEFAULT = VideoRequest(prompt="a cat", height=512, width=768, num_frames=121)
LARGEST = VideoRequest(prompt="a cat", height=1088, width=1920, num_frames=121)
NO_CFG = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0}
UNGUIDED = DEFAULT.model_copy(update=NO_CFG)


def test_the_default_request_has_6144_tokens() -> None:
    assert video_tokens(DEFAULT) == 6144


@pytest.mark.parametrize(
    ("request_", "from_image", "counted_gb"),
    [(UNGUIDED, False, 1.34), (DEFAULT, False, 3.07), (DEFAULT, True, 5.39), (LARGEST, True, 23.36)],
)
def test_denoising_takes_what_was_counted(request_: VideoRequest, from_image: bool, counted_gb: float) -> None:
    told_gb = denoise_bytes(request_, GivenTokens(from_image)) / GB
    assert counted_gb <= told_gb <= 1.2 * counted_gb


def test_decoding_takes_what_was_counted() -> None:
    assert decode_bytes(512, 768, 121) == pytest.approx(4.1 * GB, rel=0.01)
    assert decode_bytes(1088, 1920, 121) == pytest.approx(21.5 * GB, rel=0.02)
    assert tiled_decode_bytes(1088, 1920, 121) == pytest.approx(5.0 * GB, rel=0.02)


def test_encoding_a_clip_takes_what_was_counted() -> None:
    assert encode_bytes(512, 768, 121) == pytest.approx(4.12 * GB, rel=0.01)
    assert encode_bytes(1088, 1920, 121) == pytest.approx(21.87 * GB, rel=0.02)
    assert 2.52 * GB <= tiled_encode_bytes(512, 768, 121) <= 1.2 * 2.52 * GB
    assert 3.48 * GB <= tiled_encode_bytes(1088, 1920, 121) <= 1.2 * 3.48 * GB


def test_given_audio_and_a_given_clip_count() -> None:
    plain, image = estimate_peak(DEFAULT), estimate_peak(DEFAULT, GivenTokens(True))
    audio, clip = (estimate_peak(DEFAULT, tokens_of((), audio=edit is None, edit=edit)) for edit in (None, Edit(0, 9)))
    assert plain.denoise_bytes < image.denoise_bytes < audio.denoise_bytes == clip.denoise_bytes
    assert (audio.encode_bytes, clip.encode_bytes) == (0, encode_bytes(512, 768, 121))
    large = estimate_peak(LARGEST.model_copy(update=NO_CFG), tokens_of((), edit=Edit(0, 9)))
    assert large.encode_bytes == tiled_encode_bytes(1088, 1920, 121)


def test_every_placement_has_room_for_a_clip_of_the_default_size() -> None:
    assert estimate_peak(DEFAULT, tokens_of((), edit=Edit(0, 9))).bytes <= RESERVED_VRAM_BYTES


def test_a_larger_request_never_takes_less() -> None:
    sides = [estimate_peak(DEFAULT.model_copy(update={"width": width})).bytes for width in range(64, 1921, 64)]
    assert sides == sorted(sides)


@pytest.mark.parametrize("from_image", [False, True])
def test_the_nearest_that_fit_do_fit_and_the_next_larger_do_not(from_image: bool) -> None:
    free = 9 * GB
    assert estimate_peak(LARGEST, GivenTokens(from_image)).sized_bytes > free
    shorter, smaller = nearest_fitting(LARGEST, free, RequestLimits(), GivenTokens(from_image))
    for found in (shorter, smaller):
        assert estimate_peak(found, GivenTokens(from_image)).sized_bytes <= free
    longer = shorter.model_copy(update={"num_frames": shorter.num_frames + 8})
    assert estimate_peak(longer, GivenTokens(from_image)).sized_bytes > free
    assert (shorter.height, shorter.width) == (1088, 1920)
    assert smaller.num_frames == 121
    assert smaller.width > smaller.height


def test_where_nothing_fits_nothing_is_named() -> None:
    assert nearest_fitting(DEFAULT, CUDA_BYTES, RequestLimits()) == ()


def test_what_fits_is_not_refused() -> None:
    check_fits(DEFAULT, estimate_peak(DEFAULT).sized_bytes, RequestLimits())
    with pytest.raises(DoesNotFit):
        check_fits(DEFAULT, estimate_peak(DEFAULT).sized_bytes - 1, RequestLimits())


@pytest.mark.parametrize("from_image", [False, True])
def test_every_placement_has_room_for_the_text_and_for_the_default_video(from_image: bool) -> None:
    assert estimate_peak(DEFAULT, GivenTokens(from_image)).bytes <= RESERVED_VRAM_BYTES


def test_what_is_told_has_the_text_in_it() -> None:
    small = DEFAULT.model_copy(update={"height": 64, "width": 64, "num_frames": 9})
    assert estimate_peak(small).bytes == text_bytes(small) + CUDA_BYTES


def test_the_refusal_says_what_is_needed_and_what_is_there() -> None:
    with pytest.raises(DoesNotFit, match=r"1920x1088 with \d+ frames or \d+x\d+ with 121 frames") as refused:
        check_fits(LARGEST, 9 * GB, RequestLimits())
    assert "9.0 GB are free" in refused.value.message
    assert refused.value.field == "num_frames"


@pytest.mark.parametrize("appended", [1, 8])
def test_each_appended_image_takes_as_much_as_a_latent_frame(appended: int) -> None:
    longer = DEFAULT.model_copy(update={"num_frames": 121 + 8 * appended})
    with_images = estimate_peak(DEFAULT, GivenTokens(True, appended))
    assert with_images.denoise_bytes == estimate_peak(longer, GivenTokens(True)).denoise_bytes
    assert with_images.decode_bytes <= estimate_peak(longer, GivenTokens(True)).decode_bytes


def test_a_request_that_fits_alone_is_refused_with_too_many_images_and_told_what_fits_with_them() -> None:
    free = estimate_peak(DEFAULT, GivenTokens(True)).sized_bytes
    check_fits(DEFAULT, free, RequestLimits(), GivenTokens(True))
    with pytest.raises(DoesNotFit) as refused:
        check_fits(DEFAULT, free, RequestLimits(), GivenTokens(True, 2))
    assert len(refused.value.nearest) == 2
    for shape in refused.value.nearest:
        check_fits(
            DEFAULT.model_copy(update=shape),
            free,
            RequestLimits(),
            GivenTokens(True, 2),
        )


def test_every_placement_has_room_for_the_default_video_with_both_ends_and_keyframes() -> None:
    assert estimate_peak(DEFAULT, GivenTokens(True, 3)).bytes <= RESERVED_VRAM_BYTES


@pytest.mark.parametrize(("height", "width", "field"), [(1920, 64, "height"), (64, 1920, "width")])
def test_the_refusal_names_a_field_that_the_nearest_changes(height: int, width: int, field: str) -> None:
    narrow = DEFAULT.model_copy(update={"height": height, "width": width, "num_frames": 9})
    with pytest.raises(DoesNotFit) as refused:
        check_fits(narrow, estimate_peak(narrow).sized_bytes - 1, RequestLimits())
    assert (refused.value.field, refused.value.given) == (field, "1920")


@pytest.mark.parametrize("from_image", [False, True])
@pytest.mark.parametrize("free_gb", [5, 6, 8, 12])
def test_what_is_named_may_be_asked_for(free_gb: float, from_image: bool) -> None:
    """Within the limits and their multiples, at every aspect ratio and length, for whole latents or not."""
    shapes = [(1088, 1920, 121), (1920, 64, 481), (576, 1024, 200), (1024, 1024, 120), (448, 1920, 250)]
    for height, width, frames in shapes:
        asked = DEFAULT.model_copy(update={"height": height, "width": width, "num_frames": frames})
        for found in nearest_fitting(asked, int(free_gb * GB), RequestLimits(), GivenTokens(from_image)):
            parse_request({"prompt": "a cat", **shape_of(found)}, RequestLimits())
            assert estimate_peak(found, GivenTokens(from_image)).sized_bytes <= free_gb * GB


def test_the_evaluations_are_those_that_guidance_asks_for() -> None:
    assert transformer_calls(DEFAULT, 0.5) == 40 * 4
    assert transformer_calls(UNGUIDED, 0.5) == 40 * 3
    assert transformer_calls(DEFAULT.model_copy(update={"quality": Quality.FAST}), 0.5) == 20 * 4 + 20
    off = {"stg_scale_video": 0.0, "modality_scale": 1.0}
    assert transformer_calls(UNGUIDED.model_copy(update=off), 0.5) == 40


def test_the_tiny_model_s_render_must_fit_into_the_host_s_memory() -> None:
    check_tiny_fits(LARGEST, tiny_bytes(LARGEST), RequestLimits())
    with pytest.raises(DoesNotFit, match="the host's memory: 1920x1088 with 113 frames or") as refused:
        check_tiny_fits(LARGEST, tiny_bytes(LARGEST) - 1, RequestLimits())
    for shape in refused.value.nearest:
        check_tiny_fits(LARGEST.model_copy(update=shape), tiny_bytes(LARGEST) - 1, RequestLimits())
    check_tiny_fits(LARGEST, 1, RequestLimits())


def test_a_clip_needs_more_of_the_host_s_memory() -> None:
    given = tokens_of((), edit=Edit(0, 9))
    assert tiny_bytes(LARGEST, given) > 1.9 * tiny_bytes(LARGEST)
    with pytest.raises(DoesNotFit):
        check_tiny_fits(LARGEST, tiny_bytes(LARGEST), RequestLimits(), given)


def test_the_refusal_survives_the_way_between_two_processes() -> None:
    with pytest.raises(DoesNotFit) as refused:
        check_fits(LARGEST, 9 * GB, RequestLimits())
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (copy.message, copy.nearest) == (refused.value.message, refused.value.nearest)
