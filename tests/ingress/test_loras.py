"""LoRAs of a request, from its fields to the task, and what the server tells of them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from models.request.loras import LoraChoice
from tests.ingress.conftest import PROMPT, Box, image_file
from tests.ingress.media import audio_file, frames_of, video_file

LORAS = {
    "dolly_in": {"path": "/loras/dolly_in.safetensors"},
    "ink": {"repository": "someone/ink", "trigger": "ink drawing", "max_scale": 1.5},
    "a": {"path": "/loras/a.safetensors"},
    "b": {"path": "/loras/b.safetensors"},
    "c": {"path": "/loras/c.safetensors"},
}
PICKED = [{"name": "ink", "scale": 0.5}, {"name": "a"}]
CHOSEN = (LoraChoice(name="ink", scale=0.5), LoraChoice(name="a", scale=1.0))
SHOWN = [{"name": "ink", "scale": 0.5}, {"name": "a", "scale": 1.0}]


@pytest.fixture
def box(open_box: Callable[..., Box]) -> Box:
    return open_box(generator={"loras": LORAS})


@pytest.fixture
def bare(open_box: Callable[..., Box]) -> Box:
    return open_box()


def refusal(box: Box, **fields: object) -> tuple[str, str]:
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 422, answer.text
    return answer.json()["field"], answer.json()["error"]


def test_the_task_and_its_poll_have_them(box: Box) -> None:
    task_id = box.submit(loras=PICKED)
    assert box.row(task_id).request.loras == CHOSEN
    assert box.poll(task_id)["loras"] == SHOWN
    assert "loras" not in box.poll(box.submit())


def test_a_camera_motion_is_shown_as_the_lora_of_its_name(box: Box) -> None:
    task_id = box.submit(loras=PICKED, camera_motion="dolly_in")
    assert box.poll(task_id)["loras"] == [*SHOWN, {"name": "dolly_in", "scale": 1.0}]


def form_of(route: str) -> tuple[dict[str, str], dict[str, Any]]:
    match route:
        case "async_i2v":
            return {}, {"image": image_file(64, 64)}
        case "async_a2v":
            return {}, {"audio": ("a.wav", audio_file(), "audio/wav")}
        case _:
            return {"duration": "1"}, {"video": ("a.mp4", video_file(frames_of(50)), "video/mp4")}


@pytest.mark.parametrize("route", ["async_i2v", "async_a2v", "async_retake", "async_extend"])
def test_a_form_has_them_as_json_text(box: Box, route: str) -> None:
    fields, files = form_of(route)
    data = {"prompt": PROMPT, "loras": json.dumps(PICKED), **fields}
    answer = box.client.post(f"/v1/video/{route}", data=data, files=files)
    assert answer.status_code == 200, answer.text
    assert box.poll(answer.json()["task_id"])["loras"] == SHOWN
    bad = box.client.post(f"/v1/video/{route}", data={**data, "loras": '[{"name": "nobody"}]'}, files=files)
    assert (bad.status_code, bad.json()["field"]) == (422, "loras[0].name")


@pytest.mark.parametrize("empty", ["", "null", "[]"])
def test_a_form_may_leave_them_empty(box: Box, empty: str) -> None:
    data, files = {"prompt": PROMPT, "loras": empty, "camera_motion": ""}, {"image": image_file(64, 64)}
    answer = box.client.post("/v1/video/async_i2v", data=data, files=files)
    assert answer.status_code == 200, answer.text
    assert box.row(answer.json()["task_id"]).request.chosen_loras == ()


KNOWN = "dolly_in, ink, a, b, c"


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"loras": [{"name": "nobody"}]}, "loras[0].name", f'must be one of {KNOWN}; "nobody" was given'),
        ({"loras": [{"name": "a"}, {"name": "ink", "scale": 1.6}]}, "loras[1].scale", "from 0 to 1.5 for ink; 1.6"),
        ({"loras": [{"name": "a", "scale": 2.01}]}, "loras[0].scale", "must be a number from 0 to 2 for a; 2.01"),
        ({"loras": [{"name": "a", "scale": -0.1}]}, "loras[0].scale", "must be a number from 0 to 2 for a; -0.1"),
        ({"loras": [{"name": "a"}, {"name": "a"}]}, "loras", "each name once"),
        ({"loras": [{"name": name} for name in LORAS]}, "loras", "at most 4"),
        ({"loras": [{"name": "a", "path": "/etc/passwd"}]}, "loras", "objects with a name"),
        ({"loras": [{"name": "a", "scale": "much"}]}, "loras", "objects with a name"),
        ({"loras": "a"}, "loras", "an array of at most 4 objects"),
        ({"camera_motion": "spin"}, "camera_motion", f"left out, or one of {KNOWN}"),
        ({"camera_motion": "a", "loras": [{"name": "a"}]}, "camera_motion", "loras names it already"),
        (
            {"camera_motion": "dolly_in", "loras": [{"name": name} for name in ("ink", "a", "b", "c")]},
            "camera_motion",
            "one of at most 4 LoRAs",
        ),
    ],
)
def test_a_wrong_one_is_named_with_what_is_allowed(
    box: Box, fields: dict[str, object], field: str, message: str
) -> None:
    named, error = refusal(box, **fields)
    assert named == field
    assert message in error
    estimated = box.client.post("/v1/video/estimate", json={"prompt": PROMPT, **fields})
    assert (estimated.status_code, estimated.json()["error"]) == (422, error)


def test_a_server_without_loras_says_so(bare: Box) -> None:
    assert "this server has no LoRAs" in refusal(bare, loras=[{"name": "ink"}])[1]
    error = refusal(bare, camera_motion="dolly_in")[1]
    assert error == 'camera_motion must be left out: this server has no LoRAs; "dolly_in" was given'
    assert bare.client.get("/v1/models").json()["data"][0]["loras"] == []


def test_the_list_of_models_has_them(box: Box) -> None:
    listed = {each["name"]: each for each in box.client.get("/v1/models").json()["data"][0]["loras"]}
    assert listed["ink"] == {"name": "ink", "trigger": "ink drawing", "max_scale": 1.5, "control": None}
    assert listed["dolly_in"] == {"name": "dolly_in", "trigger": "", "max_scale": 2.0, "control": None}
    assert list(listed) == list(LORAS)
    assert "/loras" not in box.client.get("/v1/models").text


def test_the_schema_has_the_names_and_a_form_has_a_text(box: Box) -> None:
    content = box.client.get("/openapi.json").json()["paths"]["/v1/video/async_i2v"]["post"]["requestBody"]["content"]
    in_json = content["application/json"]["schema"]["properties"]["loras"]
    assert in_json["items"]["properties"]["name"]["enum"] == list(LORAS)
    in_form = content["multipart/form-data"]["schema"]["properties"]["loras"]
    assert in_form["type"] == "string"
    assert in_form["x-loras"]["ink"] == {"trigger": "ink drawing", "max_scale": 1.5}


def test_the_skill_document_tells_of_them(box: Box, bare: Box) -> None:
    assert "`ink`" in box.client.get("/skill.md").text
    assert "ink drawing" in box.client.get("/skill.md").text
    assert "| `loras` |" in bare.client.get("/skill.md").text


def test_a_repeated_submit_means_the_same_loras(box: Box) -> None:
    def post(**fields: object) -> Any:
        return box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, **fields}, headers=key)

    key = {"Idempotency-Key": "one"}
    first = post(loras=PICKED).json()
    assert post(loras=SHOWN).json()["task_id"] == first["task_id"]
    assert post().status_code == 422


def test_the_hosted_api_picks_the_lora_of_a_camera_motion_or_adds_its_sentence(box: Box) -> None:
    def submit(motion: str) -> Any:
        fields = {"prompt": PROMPT, "model": "ltx-2-pro", "duration": 2, "resolution": "768x512"}
        answer = box.client.post("/v2/text-to-video", json={**fields, "camera_motion": motion})
        assert answer.is_success, answer.text
        return box.row(answer.json()["id"]).request

    assert submit("dolly_in").chosen_loras == (LoraChoice(name="dolly_in"),)
    assert submit("dolly_in").prompt == PROMPT
    assert submit("jib_up").chosen_loras == ()
    assert submit("jib_up").prompt.startswith(f"{PROMPT} ")
