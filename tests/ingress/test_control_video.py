"""Control videos for IC-LoRAs, from the body of a request to the input file of its task."""

import base64
from collections.abc import Callable

import numpy as np
import pytest

from storage.inputs import InputControl
from tests.ingress.conftest import PROMPT, Box, completing, image_file
from tests.ingress.media import decode_frames, frames_of, inputs_of, video_file
from tests.ingress.test_estimate import complete_after, estimated
from tests.ingress.test_video_editing import post

LORAS = {
    "canny": {"path": "/loras/canny.safetensors", "control": "canny"},
    "union": {"path": "/loras/union.safetensors", "control": "other", "reference_downscale_factor": 2},
    "ink": {"path": "/loras/ink.safetensors"},
}
CANNY = '[{"name": "canny"}, {"name": "ink", "scale": 0.5}]'
UNION = '[{"name": "union"}]'
FRAMES = frames_of(50)
PNG = "data:image/png;base64," + base64.b64encode(image_file()).decode()
BLACK, WHITE, COLORLESS = 16, 235, 128


@pytest.fixture(scope="module")
def video() -> bytes:
    return video_file(FRAMES, audio_s=2.0)


@pytest.fixture
def box(open_box: Callable[..., Box]) -> Box:
    return open_box(generator={"loras": LORAS})


def submitted(box: Box, video: bytes | None, **fields: object) -> tuple[str, InputControl]:
    answer = post(box, "async_control", video, **fields)
    assert answer.status_code == 200, answer.text
    task_id = answer.json()["task_id"]
    control = inputs_of(box, task_id).control
    assert control is not None
    return task_id, control


def test_the_task_keeps_the_video_as_it_is_and_has_its_shape(box: Box, video: bytes) -> None:
    task_id, control = submitted(box, video, loras=CANNY, control_strength=0.75)
    request = box.row(task_id).request
    assert (request.width, request.height, request.num_frames, request.frame_rate) == (128, 64, 50, 25)
    assert (control.lora, control.strength, control.downscale_factor) == ("canny", 0.75, 1)
    assert all(np.array_equal(*pair) for pair in zip(decode_frames(control.content), FRAMES, strict=True))
    assert box.poll(task_id)["loras"] == [{"name": "canny", "scale": 1}, {"name": "ink", "scale": 0.5}]


@pytest.mark.parametrize(
    ("fields", "result", "written"),
    [
        ({}, (128, 64), (64, 32)),
        ({"upscale": "2"}, (128, 128), (32, 32)),
    ],
)
def test_it_is_as_much_smaller_as_the_lora_and_two_stages_need(
    box: Box, video: bytes, fields: dict[str, str], result: tuple[int, int], written: tuple[int, int]
) -> None:
    task_id, control = submitted(box, video, loras=UNION, **fields)
    request = box.row(task_id).request
    assert (request.width, request.height) == result
    height, width = decode_frames(control.content)[0].shape
    assert (width, height * 2 // 3) == written
    told = {each["field"]: (each["given"], each["used"]) for each in box.poll(task_id).get("adjusted", [])}
    assert told == ({} if result == (128, 64) else {"height": (64, 128)})


def test_what_the_video_decides_is_told(box: Box, video: bytes) -> None:
    answer = post(box, "async_control", video, loras=CANNY, width=512, num_frames=121)
    told = {each["field"]: (each["given"], each["used"]) for each in answer.json()["adjusted"]}
    assert told == {"width": (512, 128), "num_frames": (121, 50)}


def test_edges_are_traced_white_on_black(box: Box, video: bytes) -> None:
    """The frames have a brighter upper left quarter: its lower and its right side are edges."""
    _, control = submitted(box, video, loras=CANNY, preprocessor="canny")
    frames = decode_frames(control.content)
    assert len(frames) == len(FRAMES)
    for frame in frames:
        luma = frame[:64]
        assert set(np.unique(luma)) == {BLACK, WHITE}
        assert (frame[64:] == COLORLESS).all()
        rows, columns = np.nonzero(luma == WHITE)
        assert {*rows[columns < 60]} <= {31, 32}
        assert {*columns[rows < 28]} <= {63, 64}
        assert (luma == WHITE).sum() > 0.9 * (32 + 64)


def test_a_source_task_is_a_control_video_too(box: Box, video: bytes) -> None:
    source = box.finished(video)
    task_id, _ = submitted(box, None, source_task=source, loras=[{"name": "canny"}], preprocessor="canny")
    assert box.row(task_id).source_task == source


def places_of(box: Box, task_id: str) -> list[tuple[int, float]]:
    return [(each.place.frame, each.place.strength) for each in inputs_of(box, task_id).images]


def test_images_come_with_it_at_places_of_its_length_and_rate(box: Box, video: bytes) -> None:
    """The places are those of a video of 50 frames and 25 a second, which no field says."""
    images = [(name, ("a.png", image_file(), "image/png")) for name in ("image", "end_image", "keyframe", "keyframe")]
    fields = {"keyframe_at": ["1s", "40"], "image_strength": "0.5"}
    answer = box.client.post(
        "/v1/video/async_control",
        data={"prompt": PROMPT, "loras": CANNY, **fields},
        files=[*images, ("video", ("a.mp4", video, "video/mp4"))],
    )
    assert answer.status_code == 200, answer.text
    assert places_of(box, answer.json()["task_id"]) == [(0, 0.5), (49, 1), (25, 1), (40, 1)]
    assert inputs_of(box, answer.json()["task_id"]).control is not None


def test_images_come_in_json_with_a_source_task(box: Box, video: bytes) -> None:
    source = box.finished(video)
    fields = {"keyframe": [PNG, PNG], "keyframe_at": [12, "1.6s"], "end_image": PNG, "fit": "match"}
    answer = post(box, "async_control", None, source_task=source, loras=[{"name": "canny"}], **fields)
    assert answer.status_code == 200, answer.text
    task_id = answer.json()["task_id"]
    assert sorted(places_of(box, task_id)) == [(12, 1), (40, 1), (49, 1)]
    request = box.row(task_id).request
    assert (request.width, request.height) == (128, 64)  # no image decides it
    assert answer.json()["adjusted"][0]["field"] == "fit"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"keyframe": PNG, "keyframe_at": 50}, "keyframe_at"),
        ({"keyframe": PNG}, "keyframe_at"),
        ({"image": PNG, "image_strength": 2}, "image_strength"),
        ({"image_strength": 0.5}, "image_strength"),
        ({"image": "data:image/png;base64,AAAA"}, "image"),
    ],
)
def test_a_wrong_place_or_image_is_named(box: Box, video: bytes, fields: dict[str, object], field: str) -> None:
    source = box.finished(video)
    answer = post(box, "async_control", None, source_task=source, loras=[{"name": "canny"}], **fields)
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    assert not list(box.folder.glob("store/inputs/*"))


def test_the_same_key_with_another_place_is_refused(box: Box, video: bytes) -> None:
    same = {"prompt": PROMPT, "source_task": box.finished(video), "loras": [{"name": "canny"}], "keyframe": PNG}
    answers = [
        box.client.post("/v1/video/async_control", json={**same, "keyframe_at": at}, headers={"Idempotency-Key": "one"})
        for at in (5, 5, 6)
    ]
    first, again, other = answers
    assert first.json()["task_id"] == again.json()["task_id"]
    assert other.json()["error_code"] == "idempotency_key_reused"


def test_all_images_together_have_a_bound(open_box: Callable[..., Box], video: bytes) -> None:
    box = open_box(generator={"loras": LORAS}, limits={"max_image_bytes": len(image_file()) + 10})
    images = [(name, ("a.png", image_file(), "image/png")) for name in ("image", "end_image")]
    files = [*images, ("video", ("a.mp4", video, "video/mp4"))]
    answer = box.client.post("/v1/video/async_control", data={"prompt": PROMPT, "loras": CANNY}, files=files)
    assert (answer.status_code, answer.json()["field"]) == (413, "end_image"), answer.text


def test_an_estimate_counts_its_images(box: Box) -> None:
    same = {"prompt": PROMPT, "width": 1280, "height": 704, "num_frames": 121}
    use = {"use": "control", "loras": [{"name": "union"}]}
    without, with_image = (estimated(box, **same, **use, **more)["gb"] for more in ({}, {"end_image": PNG}))
    assert without < with_image
    matched = estimated(box, **same, **use, image=PNG, fit="match")
    assert matched["gb"] == without


def test_the_synchronous_route_waits_for_the_video(box: Box, video: bytes) -> None:
    with completing(box):
        answer = post(box, "control", video, loras=CANNY)
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({}, "loras", "exactly one of canny, union"),
        ({"loras": '[{"name": "ink"}]'}, "loras", "exactly one of canny, union"),
        ({"loras": '[{"name": "canny"}, {"name": "union"}]'}, "loras", "canny, union was given"),
        ({"loras": '[{"name": "canny", "scale": 0}]'}, "loras", "with a scale above 0"),
        ({"camera_motion": "canny"}, "camera_motion", "left out"),
        ({"loras": CANNY, "control_strength": 1.5}, "control_strength", "1.5"),
        ({"loras": CANNY, "preprocessor": "depth"}, "preprocessor", "one of none, canny"),
        ({"loras": '[{"name": "nobody"}]'}, "loras[0].name", "nobody"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(
    box: Box, video: bytes, fields: dict[str, object], field: str, message: str
) -> None:
    answer = post(box, "async_control", video, **fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert message in answer.json()["error"]
    assert not list(box.folder.glob("store/inputs/*"))


def test_a_server_without_such_loras_says_so(open_box: Callable[..., Box], video: bytes) -> None:
    answer = post(open_box(), "async_control", video)
    assert (answer.status_code, answer.json()["field"]) == (422, "loras")
    assert "this server has no IC-LoRAs" in answer.json()["error"]


def test_a_video_without_a_control_video_takes_no_such_lora(box: Box, video: bytes) -> None:
    for route, given, loras in (("async_t2v", None, [{"name": "canny"}]), ("async_v2v", video, CANNY)):
        answer = post(box, route, given, loras=loras)
        assert (answer.status_code, answer.json()["field"]) == (422, "loras[0].name"), answer.text
        assert "/v1/video/async_control" in answer.json()["error"]
    answer = post(box, "async_t2v", camera_motion="union")
    assert (answer.status_code, answer.json()["field"]) == (422, "camera_motion")


def test_an_estimate_counts_its_tokens(box: Box) -> None:
    same = {"prompt": PROMPT, "width": 1280, "height": 704, "num_frames": 121}
    union, canny = ({"use": "control", "loras": [{"name": name}]} for name in ("union", "canny"))
    plain, half, whole = (estimated(box, **same, **use)["gb"] for use in ({}, union, canny))
    assert plain < half < whole
    refused = box.client.post("/v1/video/estimate", json={**same, "use": "control"})
    assert (refused.status_code, refused.json()["field"]) == (422, "loras")


def test_an_estimate_is_that_of_the_size_that_is_rendered(open_box: Callable[..., Box]) -> None:
    """A control video of a quarter has sides of whole latents, so those of the result are multiples of 128."""
    quarter = {"path": "/loras/quarter.safetensors", "control": "other", "reference_downscale_factor": 4}
    box = open_box(generator={"loras": {"quarter": quarter}})
    use = {"prompt": PROMPT, "num_frames": 121, "use": "control", "loras": [{"name": "quarter"}]}
    asked, fitted, smaller = (
        estimated(box, **use, width=width, height=height) for width, height in ((1216, 704), (1280, 768), (1152, 640))
    )
    assert asked == fitted
    assert smaller["gb"] < fitted["gb"]


def test_a_control_video_takes_as_much_longer_as_it_has_tokens(box: Box) -> None:
    same = {"num_frames": 25, "num_inference_steps": 40}
    complete_after(box, 1000, decoding_s=100, **same)
    union, canny = ({"use": "control", "loras": [{"name": name}]} for name in ("union", "canny"))
    seconds = [estimated(box, prompt=PROMPT, **same, **use)["seconds"] for use in ({}, union, canny)]
    assert seconds == pytest.approx([1000, 100 + 900 * 1.25, 100 + 900 * 2], rel=0.05)


def test_documents_tell_which_lora_needs_one(box: Box, open_box: Callable[..., Box]) -> None:
    listed = {each["name"]: each["control"] for each in box.client.get("/v1/models").json()["data"][0]["loras"]}
    assert listed == {"canny": "canny", "union": "other", "ink": None}
    paths = box.client.get("/openapi.json").json()["paths"]
    for route, names in (("async_t2v", ["ink"]), ("async_control", ["canny", "union", "ink"])):
        schema = paths[f"/v1/video/{route}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["loras"]["items"]["properties"]["name"]["enum"] == names
    assert "| `canny` |  | 2 | canny |" in box.client.get("/skill.md").text
    assert "only for `POST /v1/video/async_control`" in box.client.get("/skill.md").text
    assert "only for `POST /v1/video/async_control`" not in open_box().client.get("/skill.md").text
