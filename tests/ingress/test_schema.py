"""The API keeps the promises of /openapi.json for any request: no 5xx, and no response outside the schema."""

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deployments.encoder.mp4 import write_mp4
from deployments.ingress.request_body.media_fields import EXAMPLE_AUDIO
from deployments.ingress.request_body.openapi import EXAMPLE_IMAGE
from models.clip import Clip
from storage.outputs.store import output_key, poster_key
from storage.tasks import State
from tests.ingress.conftest import MODEL, Box, completing, image_file
from tests.ingress.language_model import serve_language_model
from tests.ingress.media import audio_file, frames_of, video_file

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ELSEWHERE = "/(events|preview|webhook)$"
"""Suffixes of paths with an endless stream, or that need a running task or a receiver. Other tests cover them."""
LTX_MEDIA = tuple(f"/v{version}/{name}" for version in (1, 2) for name in ("audio-to-video", "retake", "extend"))
LTX_TEXT = tuple(f"/v{version}/text-to-video" for version in (1, 2))
READS_MEDIA = "(a2v|audio-to-video|v2v|control|retake|extend|upscale)$"
"""Suffixes of paths whose requests each start a process that reads audio or video, which takes most of the time."""
EXAMPLES = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
FEWER_EXAMPLES = settings(EXAMPLES, max_examples=4)
ENOUGH_TAKEN = 3

EDGES = {"loras": {"edges": {"path": "/loras/edges.safetensors", "control": "canny"}}}


@pytest.fixture
def working_box(open_box: Callable[..., Box]) -> Iterator[Box]:
    """A server whose tasks are completed at once, so that synchronous routes return.

    It has a language model, and a LoRA that follows a control video.
    """
    with serve_language_model() as told, completing(open_box(enhance=told.settings, generator=EDGES)) as box:
        yield box


def real_names(box: Box) -> dict[str, Any]:
    """Values for the path parameters that refer to existing objects."""
    task_id = box.submit()
    while box.row(task_id).state != State.COMPLETED:
        pass
    give_real_files(box, task_id)
    return {
        "task_id": task_id,
        "video_id": f"video_{task_id}",
        "job_id": task_id,
        "endpoint": "text-to-video",
        "model_id": MODEL,
        "filename": f"ltx2_{task_id}.mp4",
    }


def give_real_files(box: Box, task_id: str) -> None:
    """Replace the files of a completed task by a real video and poster, which other files are made from."""
    frames = np.zeros((33, 64, 64, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "video.mp4")
        clip = Clip(frames, np.zeros((2, 31_680), np.float32), 24_000, Fraction(25))
        write_mp4(clip, video, max_bytes=None, metadata={})
        box.outputs.put(output_key(task_id), video)
    box.outputs.put(poster_key(task_id), image_file(image_format="JPEG"))


def is_file(schema: dict[str, Any]) -> bool:
    """Whether a field of a form is a file."""
    return schema.get("format") == "binary"


def example_file(field: str) -> bytes:
    """A file for this field of a form."""
    return {"audio": audio_file, "video": lambda: video_file(frames_of(30))}.get(field, image_file)()


def small_video_url() -> str:
    """A video as a data url, small enough for a body of JSON."""
    return f"data:video/mp4;base64,{base64.b64encode(video_file(frames_of(75))).decode()}"


def send(box: Box, case: Case) -> int:
    """Send a case with exactly the bytes that `requests` would send, and validate the response."""
    sent = requests.Request(**case.as_transport_kwargs()).prepare()
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body
    answer = box.client.request(sent.method, sent.url, headers=dict(sent.headers), content=body)
    case.validate_response(answer, checks=CHECKS)
    return answer.status_code


def made_real(case: Case, names: dict[str, Any]) -> Case:
    """The same case with the ids of an existing task and file, and a real image."""
    if case.path_parameters:
        case.path_parameters = {name: names.get(name, value) for name, value in case.path_parameters.items()}
    if isinstance(case.body, dict) and case.path.endswith(("retake", "extend", "v2v", "control")):
        case.body = {name: value for name, value in case.body.items() if name != "video"}
        case.body["source_task"] = names["task_id"]
    if isinstance(case.body, dict) and case.path.endswith("control"):
        picked = [{"name": "edges"}]
        case.body["loras"] = picked if case.media_type == "application/json" else json.dumps(picked)
        case.body.pop("camera_motion", None)
    if isinstance(case.body, dict) and "audio" in case.body:
        case.body = {**case.body, "audio": EXAMPLE_AUDIO if case.media_type == "application/json" else audio_file()}
    if isinstance(case.body, dict) and case.path.startswith(LTX_MEDIA):
        real = {"audio_uri": EXAMPLE_AUDIO, "video_uri": small_video_url(), "image_uri": EXAMPLE_IMAGE}
        real |= {"prompt": "A singer.", "resolution": "256x256", "start_time": 0, "duration": 1, "context": 1}
        case.body = {**case.body, **{name: value for name, value in real.items() if name in case.body}}
        case.body["prompt"] = real["prompt"]
    if isinstance(case.body, dict) and case.path.startswith(LTX_TEXT):
        case.body = {
            **case.body,
            "resolution": "256x256",
            "duration": 1,
            "fps": 25,
        }  # few random ones are in the bounds
    for image in ("image", "end_image", "input_reference"):
        if isinstance(case.body, dict) and image in case.body:
            as_json = case.media_type == "application/json"
            case.body = {**case.body, image: EXAMPLE_IMAGE if as_json else image_file()}
    return case


def explore(box: Box, operation: APIOperation, mode: GenerationMode) -> set[int]:
    """Send what the schema allows, or forbids. Returns the statuses of the responses."""
    names, seen = real_names(box), list[int]()
    reads_media = re.search(READS_MEDIA, operation.path) is not None

    @(FEWER_EXAMPLES if reads_media and mode is GenerationMode.NEGATIVE else EXAMPLES)
    @given(case=operation.as_strategy(generation_mode=mode))
    def explore_examples(case: Case) -> None:
        if not reads_media or sum(status < 300 for status in seen) < ENOUGH_TAKEN:
            seen.append(send(box, case))
            seen.append(send(box, made_real(case, names)))

    explore_examples()
    return set(seen)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_the_schema_promises(working_box, mode, subtests):
    schema = schemathesis.openapi.from_dict(working_box.client.get("/openapi.json").json())
    schema.config.update(base_url=str(working_box.client.base_url))
    for result in schema.exclude(path_regex=ELSEWHERE).get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # the schema forbids nothing here
        with subtests.test(operation.label):
            seen = explore(working_box, operation, mode)
            assert mode is GenerationMode.NEGATIVE or min(seen) < 300, "nothing that was sent was taken"


def test_what_docs_offers_to_send_is_taken_as_it_stands(working_box):
    """Swagger UI sends the example of a JSON body, and a form with each field's example or default."""
    for path, methods in working_box.client.get("/openapi.json").json()["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        assert not any("example" in parameter for parameter in methods.get("post", {}).get("parameters", []))
        if "application/json" in content:
            example = dict(content["application/json"]["example"])
            if "source_task" in example:
                example["source_task"] = real_names(working_box)["task_id"]
            if "video_uri" in example:
                example["video_uri"] = small_video_url()
            names = real_names(working_box) if "{video_id}" in path else {}
            answer = working_box.client.post(path.format(**names), json=example)
            assert answer.status_code in (200, 202), (path, answer.text)
        if "multipart/form-data" in content:
            properties = content["multipart/form-data"]["schema"]["properties"]
            image = next(name for name in ("audio", "video", *properties) if is_file(properties.get(name, {})))
            data = {name: schema.get("examples", [schema.get("default")])[0] for name, schema in properties.items()}
            data |= content["multipart/form-data"]["example"]
            data = {name: value for name, value in data.items() if value is not None}
            answer = working_box.client.post(path, data=data, files={image: ("a.png", example_file(image))})
            assert answer.status_code == 200, (path, answer.text)
