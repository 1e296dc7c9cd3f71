"""Promise: `upscale` is taken where the model has two stages, and refused at the submit where it has not."""

from dataclasses import replace
from typing import Any

import pytest

from models.checkpoint.profile import CheckpointProfile, choose_profile
from models.request.enums import Upscale
from models.request.request import VideoRequest
from storage.tasks import ServedModel
from tests.ingress.conftest import MODEL, PROMPT, Box, image_file
from tests.ingress.test_adjustments import DISTILLED

WITH_UPSAMPLER = replace(DISTILLED, upsampler=True)
WITHOUT = replace(DISTILLED, upsampler=False)
BASE = choose_profile({})
"""As a Generator stores it that had no distilled LoRA: it did not look for an upsampler."""


def serve(box: Box, profile: CheckpointProfile) -> Box:
    box.tasks.record_model(ServedModel(MODEL, profile))
    return box


def submit(box: Box, **fields: object) -> Any:
    return box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, **fields})


@pytest.mark.parametrize("given", [2, "2"])
def test_two_stages_are_taken_as_a_number_or_as_text(box: Box, given: object) -> None:
    answer = submit(serve(box, WITH_UPSAMPLER), upscale=given, width=1088, height=1920)
    assert answer.status_code == 200, answer.text
    request = box.row(answer.json()["task_id"]).request
    assert (request.upscale, request.width, request.height) == (Upscale.TWICE, 1088, 1920)
    assert answer.json()["adjusted"] == []


def test_a_form_takes_them_with_images(box: Box) -> None:
    fields = {"prompt": PROMPT, "upscale": "2"}
    answer = serve(box, WITH_UPSAMPLER).client.post(
        "/v1/video/async_i2v", data=fields, files={"image": image_file(), "end_image": image_file()}
    )
    assert answer.status_code == 200, answer.text
    assert box.row(answer.json()["task_id"]).request.is_upscaled


def test_a_model_that_is_not_known_yet_may_have_them(box: Box) -> None:
    assert submit(box, upscale=2).status_code == 200


@pytest.mark.parametrize(
    ("profile", "needed"), [(WITHOUT, "generator.latent_upsampler"), (BASE, "generator.distilled_lora")]
)
@pytest.mark.parametrize("route", ["async_t2v", "estimate"])
def test_where_they_cannot_be_rendered_the_answer_says_what_the_operator_has_to_do(
    box: Box, profile: CheckpointProfile, needed: str, route: str
) -> None:
    answer = serve(box, profile).client.post(f"/v1/video/{route}", json={"prompt": PROMPT, "upscale": 2})
    assert (answer.status_code, answer.json()["field"], answer.json()["given"]) == (422, "upscale", '"2"')
    assert needed in answer.json()["allowed"]


@pytest.mark.parametrize("given", [3, "4", True, 2.5, "two"])
def test_another_value_is_refused(box: Box, given: object) -> None:
    answer = submit(serve(box, WITH_UPSAMPLER), upscale=given)
    assert (answer.status_code, answer.json()["allowed"]) == (422, "one of none, 2")


@pytest.mark.parametrize(
    ("profile", "can"), [(WITH_UPSAMPLER, True), (WITHOUT, False), (BASE, False), (DISTILLED, None)]
)
def test_models_and_health_say_whether_they_are_served(box: Box, profile: CheckpointProfile, can: bool | None) -> None:
    client = serve(box, profile).client
    assert client.get("/v1/models").json()["data"][0]["upscale"] is can
    assert client.get(f"/v1/models/{MODEL}").json()["upscale"] is can
    assert client.get("/health").json().get("upscales") is can


def test_an_estimate_counts_a_quarter_of_the_first_stage_and_all_of_the_second(box: Box) -> None:
    from models.memory.estimate import transformer_calls

    distilled = {"prompt": PROMPT, "num_inference_steps": 8, **dict.fromkeys(("cfg_scale_video", "cfg_scale_audio"), 1)}
    request = VideoRequest(**distilled, stg_scale_video=0, modality_scale=1)  # type: ignore[arg-type]
    assert transformer_calls(request, 1.0) == 8
    assert transformer_calls(request.model_copy(update={"upscale": Upscale.TWICE}), 1.0) == 8 / 4 + 3


@pytest.fixture
def with_lora(open_box: Any) -> Box:
    """A server whose settings name a distilled LoRA."""
    return open_box(generator={"distilled_lora": "auto"})


@pytest.mark.parametrize(
    ("upsampler", "status"), [(True, 200), (None, 200), (False, 422)], ids=["found", "not known", "none"]
)
def test_a_base_model_has_them_with_its_lora(with_lora: Box, upsampler: bool | None, status: int) -> None:
    serve(with_lora, replace(BASE, upsampler=upsampler, distilled_lora=upsampler is not None))
    answer = submit(with_lora, upscale=2)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert "generator.latent_upsampler" in answer.json()["allowed"]
    assert with_lora.client.get("/v1/models").json()["data"][0]["upscale"] is upsampler


def test_a_setting_that_is_newer_than_the_last_load_counts(open_box: Any) -> None:
    """Otherwise the operator who follows the message of the 422 would get it again."""
    box = open_box(generator={"distilled_lora": "auto", "latent_upsampler": "owner/name"})
    serve(box, replace(BASE, distilled_lora=False))
    assert submit(box, upscale=2).status_code == 200
    serve(box, WITHOUT)
    assert submit(box, upscale=2).status_code == 200


def test_an_estimate_of_a_base_model_counts_one_row_at_full_size() -> None:
    from models.memory.estimate import denoise_bytes, transformer_calls

    request = VideoRequest(prompt="a cat", height=1088, width=1920, num_frames=121, num_inference_steps=40)
    both = request.model_copy(update={"upscale": Upscale.TWICE})
    assert transformer_calls(both, 1.0) == 40 * 4 / 4 + 3
    assert denoise_bytes(both) == denoise_bytes(request) / 2
