"""First image, last image and keyframes, from a submit to what the Generator reads."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from deployments.generator.request_prep import load_conditions
from models.conditions import GivenTokens
from models.memory.estimate import GB, estimate_peak
from models.request.request import VideoRequest
from storage.inputs import unpack_inputs
from storage.tasks import State, Task
from tests.ingress.conftest import PROMPT, Box, image_file
from tests.ingress.test_estimate import loaded

RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 200, 0), (0, 0, 200), (255, 255, 255)
ROUTES = ("async_i2v", "i2v", "estimate")


def png(color: tuple[int, int, int], width: int = 96, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def noise(seed: int) -> bytes:
    """An image file of some 200 KB, which is a long text in JSON."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def files(*parts: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(name, (f"{name}.png", content, "image/png")) for name, content in parts]


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def sent(box: Box, parts: object, **fields: object) -> Task:
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT, **fields}, files=parts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == []
    return box.row(answer.json()["task_id"])


def given_to(box: Box, task: Task) -> list[tuple[int, float, tuple[int, ...]]]:
    """What the Generator loads: frame, strength and color of each image."""
    return [
        (each.place.frame, each.place.strength, each.image.getpixel((5, 5)))
        for each in load_conditions(task, box.outputs).images
    ]


def refused(box: Box, parts: object, route: str = "async_i2v", **fields: object) -> dict:
    answer = box.client.post(f"/v1/video/{route}", data={"prompt": PROMPT, **fields}, files=parts)
    assert answer.status_code == 422, answer.text
    assert box.tasks.counts()[State.QUEUED] == 0
    assert not list(box.folder.glob("store/inputs/*"))
    return dict(answer.json())


def test_first_and_last_image_and_keyframes_arrive_at_their_frames(box):
    parts = files(("image", png(RED)), ("end_image", png(GREEN)), ("keyframe", png(BLUE)), ("keyframe", png(WHITE)))
    places = {"keyframe_at": ["1.5s", "12"], "keyframe_strength": ["0.5", "1"], "end_image_strength": "0.75"}
    task = sent(box, parts, num_frames="50", frame_rate="24", **places)
    assert given_to(box, task) == [(0, 1.0, RED), (49, 0.75, GREEN), (36, 0.5, BLUE), (12, 1.0, WHITE)]


def test_a_last_image_alone_is_enough_and_so_is_a_keyframe(box):
    assert given_to(box, sent(box, files(("end_image", png(GREEN))))) == [(120, 1.0, GREEN)]
    assert given_to(box, sent(box, files(("keyframe", png(BLUE))), keyframe_at="-1")) == [(120, 1.0, BLUE)]


def test_the_strength_of_the_first_image_arrives(box):
    assert given_to(box, sent(box, files(("image", png(RED))), image_strength="0.25")) == [(0, 0.25, RED)]


def test_a_first_image_alone_is_stored_as_it_always_was(box):
    for fields in ({}, {"image_strength": "1"}, {"keyframe_at": "", "end_image_strength": "1.0"}):
        task = sent(box, files(("image", png(RED))), **fields)
        content = b"".join(box.outputs.open(task.input_key))
        assert Image.open(io.BytesIO(content)).size == (task.request.width, task.request.height)
        assert given_to(box, task) == [(0, 1.0, RED)]


def test_json_says_the_same_as_a_form(box):
    fields = {"prompt": PROMPT, "image": data_url(png(RED)), "end_image": {"image_url": data_url(png(GREEN))}}
    keyframes = {"keyframe": [data_url(png(BLUE)), data_url(png(WHITE))], "keyframe_at": ["1.2s", 12]}
    answer = box.client.post("/v1/video/async_i2v", json={**fields, **keyframes, "keyframe_strength": [0.5, 1]})
    assert answer.status_code == 200, answer.text
    expected = [(0, 1.0, RED), (120, 1.0, GREEN), (30, 0.5, BLUE), (12, 1.0, WHITE)]
    assert given_to(box, box.row(answer.json()["task_id"])) == expected
    one = {"prompt": PROMPT, "keyframe": data_url(png(BLUE)), "keyframe_at": 3, "keyframe_strength": 0.5}
    answer = box.client.post("/v1/video/async_i2v", json=one)
    assert given_to(box, box.row(answer.json()["task_id"])) == [(3, 0.5, BLUE)]


def test_several_large_images_in_json_are_those_of_a_form(box):
    images = [noise(seed) for seed in range(4)]
    first, last, *keyframes = (data_url(each) for each in images)
    fields = {"prompt": PROMPT, "image": first, "end_image": {"image_url": {"url": last}}, "keyframe": keyframes}
    answer = box.client.post("/v1/video/async_i2v", json={**fields, "keyframe_at": [8, 16]})
    assert answer.status_code == 200, answer.text
    parts = files(*zip(("image", "end_image", "keyframe", "keyframe"), images, strict=True))
    in_form = sent(box, parts, keyframe_at=["8", "16"])
    one, other = (
        unpack_inputs(b"".join(box.outputs.open(each.input_key))).images
        for each in (box.row(answer.json()["task_id"]), in_form)
    )
    assert one == other
    assert len({each.content for each in one}) == 4


def test_more_large_texts_in_json_than_images_are_refused(box):
    long = {f"field{number}": "x" * 100_000 for number in range(4)}
    answer = box.client.post("/v1/video/async_i2v", json={"prompt": PROMPT, "image": data_url(png(RED)), **long})
    assert (answer.status_code, answer.json()["error_code"]) == (413, "too_large")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("names", "fields", "told"),
    [
        (["image", "keyframe"], {"keyframe_at": "121"}, ("keyframe_at", "a frame from 0 to 120, -1 for the last one")),
        (["image", "keyframe"], {"keyframe_at": "5s"}, ("keyframe_at", "or seconds from 0s to 4.8s")),
        (["image", "keyframe"], {}, ("keyframe_at", "once for each keyframe, 1 in all")),
        (["image", "keyframe"], {"keyframe_at": "0"}, ("keyframe_at", "frame 0 is that of image")),
        (["image", "end_image", "keyframe"], {"keyframe_at": "-1"}, ("keyframe_at", "frame 120 is that of end_image")),
        (["image"], {"image_strength": "1.5"}, ("image_strength", "a number from 0 to 1")),
        (["image"], {"end_image_strength": "0.5"}, ("end_image_strength", "left out: there is no end_image")),
        (["keyframe"], {"keyframe_at": "9", "length": "auto"}, ("keyframe_at", "0 or -1, because the model")),
        (["keyframe"] * 9, {"keyframe_at": list("123456789")}, ("keyframe", "at most 8 images")),
    ],
)
def test_what_cannot_be_is_refused_under_the_client_s_field_with_the_bound(box, route, names, fields, told):
    field, said = told
    body = refused(box, files(*((name, png(RED)) for name in names)), route, **fields)
    assert (body["field"], body["error_code"]) == (field, "invalid_request")
    assert said in body["error"]


@pytest.mark.parametrize("name", ["end_image", "keyframe"])
@pytest.mark.parametrize("content", [b"no image", b"", image_file()[:100], image_file(image_format="BMP")])
def test_a_broken_file_is_refused_under_its_own_name(box, name, content):
    places = {"keyframe_at": "5"} if name == "keyframe" else {}
    body = refused(box, files(("image", png(RED)), (name, content)), **places)
    assert body["field"] == name
    assert body["error"].startswith(f"{name} must be")


def test_a_file_in_place_of_a_place_is_refused(box):
    parts = [*files(("keyframe", png(RED))), ("keyframe_at", ("at.txt", b"5", "text/plain"))]
    assert refused(box, parts)["field"] == "keyframe_at"


def test_a_url_is_refused_under_its_own_name(box):
    fields = {"prompt": PROMPT, "keyframe": ["https://a.example/b.png"], "keyframe_at": [4]}
    body = box.client.post("/v1/video/async_i2v", json=fields).json()
    assert body["field"] == "keyframe"
    assert "fetches no urls" in body["error"]


def test_with_match_the_first_image_decides_the_size_and_the_others_are_cropped_to_it(box):
    parts = files(("image", png(RED, 64, 128)), ("end_image", png(GREEN, 200, 100)))
    task = sent(box, parts, fit="match")
    assert task.request.fit == "match"
    assert task.request.height > task.request.width
    ratios = {round(each.image.width / each.image.height, 2) for each in load_conditions(task, box.outputs).images}
    assert ratios == {round(task.request.width / task.request.height, 2)}


def test_text_to_video_does_not_know_the_fields(box):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "image_strength": 0.5, "keyframe_at": [1]})
    assert answer.json()["ignored"] == ["image_strength", "keyframe_at"]


def test_the_same_key_needs_the_same_images_at_the_same_places(box):
    def send(*parts: tuple[str, bytes], **fields: object):
        headers = {"Idempotency-Key": "k"}
        data = {"prompt": PROMPT, **fields}
        return box.client.post("/v1/video/async_i2v", data=data, files=files(*parts), headers=headers)

    both = (("image", png(RED)), ("end_image", png(GREEN)))
    first = send(*both)
    assert send(*both, end_image_strength="1").json() == first.json()
    assert len(list(box.folder.glob("store/inputs/*"))) == 1
    for answer in (
        send(both[0]),
        send(*both, end_image_strength="0.5"),
        send(both[0], ("end_image", png(BLUE))),
        send(("image", png(GREEN)), ("end_image", png(RED))),
        send(both[0], ("keyframe", png(GREEN)), keyframe_at="5"),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (422, "idempotency_key_reused")


def test_the_file_is_deleted_with_its_task(box):
    task = sent(box, files(("image", png(RED)), ("end_image", png(GREEN))))
    assert len(list(box.folder.glob("store/inputs/*"))) == 1
    assert box.client.delete(f"/v1/video/tasks/{task.id}").status_code == 200
    assert not list(box.folder.glob("store/inputs/*"))


def test_images_that_do_not_fit_are_refused_with_what_fits_and_the_estimate_says_the_same(box):
    request = VideoRequest(prompt=PROMPT)
    free_bytes = estimate_peak(request, GivenTokens(True)).sized_bytes
    loaded(box, free_bytes)
    form = {"data": {"prompt": PROMPT}, "files": files(("image", png(RED)))}
    assert box.client.post("/v1/video/estimate", **form).json()["fits"]
    form = {"data": {"prompt": PROMPT}, "files": files(("image", png(RED)), ("end_image", png(GREEN)))}
    estimate = box.client.post("/v1/video/estimate", **form).json()
    answer = box.client.post("/v1/video/async_i2v", **form)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "does_not_fit")
    assert (estimate["fits"], estimate["nearest"]) == (False, answer.json()["nearest"])
    assert estimate["gb"] == round(estimate_peak(request, GivenTokens(True, 1)).bytes / GB, 1)
    nearest = {name: str(value) for name, value in estimate["nearest"][0].items()}
    fitting = {"data": {"prompt": PROMPT, **nearest}, "files": form["files"]}
    assert box.client.post("/v1/video/async_i2v", **fitting).status_code == 200


def test_openapi_describes_every_field_in_both_bodies(box):
    document = box.client.get("/openapi.json").json()
    for route in ROUTES:
        content = document["paths"][f"/v1/video/{route}"]["post"]["requestBody"]["content"]
        for body in content.values():
            properties = body["schema"]["properties"]
            assert properties["keyframe"]["maxItems"] == 8
            assert properties["end_image_strength"]["default"] == 1
            assert {"image", "end_image", "image_strength", "keyframe_at", "keyframe_strength"} <= set(properties)
    example = content_of(document)["application/json"]["example"]
    assert box.client.post("/v1/video/async_i2v", json=example).status_code == 200
    assert "end_image" not in json.dumps(document["paths"]["/v1/video/async_t2v"])


def content_of(document: dict) -> dict:
    return dict(document["paths"]["/v1/video/async_i2v"]["post"]["requestBody"]["content"])
