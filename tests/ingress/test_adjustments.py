"""Promise: the submit reports parameters that the model cannot use. A missing one means the model's own default."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint.profile import DISTILLED_SIGMAS, choose_profile
from models.request.enums import DurationMode, Quality
from storage.tasks import ServedModel
from tests.ingress.conftest import MODEL, PROMPT, Box, image_file

LTX_2_3 = choose_profile({"num_layers": 48, "use_prompt_embeddings": False})
DISTILLED = replace(LTX_2_3, sigmas=DISTILLED_SIGMAS)


@pytest.fixture
def distilled(box: Box) -> Box:
    """A server whose Generator has loaded a distilled model."""
    box.tasks.record_model(ServedModel(MODEL, DISTILLED))
    return box


def submitted(box: Box, **fields: Any) -> dict[str, Any]:
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def named(adjusted: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    return {each["field"]: (each["given"], each["used"]) for each in adjusted}


def test_steps_and_guidance_of_a_distilled_model_are_named_at_the_submit_and_in_the_poll(distilled: Box) -> None:
    asked = {"num_inference_steps": 40, "cfg_scale_video": 3.0, "stg_scale_video": 1.0, "negative_prompt": "rain"}
    body = submitted(distilled, **asked)
    assert named(body["adjusted"]) == {
        "num_inference_steps": (40, 8),
        "cfg_scale_video": (3.0, 1.0),
        "stg_scale_video": (1.0, 0.0),
        "negative_prompt": ("rain", ""),
    }
    assert all(each["reason"] for each in body["adjusted"])
    assert distilled.poll(body["task_id"])["adjusted"] == body["adjusted"]


def test_a_word_that_is_adjusted_comes_back_from_the_row_as_one_of_its_choices(distilled: Box) -> None:
    body = submitted(distilled, quality="fast", length="auto")
    assert named(body["adjusted"]) == {"quality": ("fast", "exact"), "length": ("auto", "exact")}
    rendered = distilled.row(body["task_id"]).rendered_request
    assert (type(rendered.quality), type(rendered.length)) == (Quality, DurationMode)


def test_every_door_names_them(distilled: Box) -> None:
    fields = {"prompt": PROMPT, "num_inference_steps": "40"}
    form = distilled.client.post("/v1/video/async_i2v", data=fields, files={"image": image_file()})
    openai = distilled.client.post("/v1/videos", json={"prompt": PROMPT, "num_inference_steps": 40})
    for answer in (form, openai):
        assert named(answer.json()["adjusted"]) == {"num_inference_steps": (40, 8)}


def test_what_was_left_out_is_the_model_s_own_and_no_adjustment(distilled: Box) -> None:
    body = submitted(distilled)
    assert body["adjusted"] == []
    poll = distilled.poll(body["task_id"])
    assert "adjusted" not in poll
    assert poll["num_inference_steps"] == 8
    rendered = distilled.row(body["task_id"]).rendered_request
    assert (rendered.cfg_scale_video, rendered.stg_scale_video, rendered.modality_scale) == (1.0, 0.0, 1.0)


def test_what_a_distilled_model_does_anyway_is_no_adjustment(distilled: Box) -> None:
    assert submitted(distilled, num_inference_steps=8, cfg_scale_video=1, negative_prompt="")["adjusted"] == []


def test_ltx_2_3_takes_thirty_steps_unless_it_is_told(box: Box) -> None:
    box.tasks.record_model(ServedModel(MODEL, LTX_2_3))
    left_out, said = submitted(box), submitted(box, num_inference_steps=40)
    assert box.poll(left_out["task_id"])["num_inference_steps"] == 30
    assert box.poll(said["task_id"])["num_inference_steps"] == 40
    assert left_out["adjusted"] == said["adjusted"] == []


def test_the_seeds_model_has_the_seeds_defaults(box: Box) -> None:
    box.tasks.record_model(ServedModel(MODEL, choose_profile({})))
    task = box.row(submitted(box)["task_id"])
    assert task.rendered_request == task.request
    assert task.adjustments == ()


def test_the_row_remembers_what_was_left_out(box: Box) -> None:
    task = box.row(submitted(box, num_inference_steps=40)["task_id"])
    assert task.request.model_fields_set == {"prompt", "num_inference_steps"}


def test_a_checkpoint_on_this_machine_tells_before_it_was_ever_loaded(open_box, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "a-checkpoint", {"use_dynamic_shifting": False})
    body = submitted(open_box(model=str(model)), num_inference_steps=40)
    assert named(body["adjusted"]) == {"num_inference_steps": (40, 8)}


def test_what_the_operator_says_now_counts_more_than_what_was_loaded_before(open_box, tmp_path: Path) -> None:
    model = str(checkpoint(tmp_path / "a-checkpoint", {"use_dynamic_shifting": False}))
    box = open_box(model=model, generator={"checkpoint_type": "base"})
    box.tasks.record_model(ServedModel(model, DISTILLED))
    assert submitted(box, num_inference_steps=40)["adjusted"] == []
    box = open_box(model=model, generator={"checkpoint_type": "distilled"})
    box.tasks.record_model(ServedModel(model, LTX_2_3))
    assert named(submitted(box, num_inference_steps=40)["adjusted"]) == {"num_inference_steps": (40, 8)}


def test_a_broken_checkpoint_is_the_generators_to_report(open_box, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "a-checkpoint", {})
    (model / "transformer" / "config.json").write_text("{")
    assert submitted(open_box(model=str(model)), num_inference_steps=40)["adjusted"] == []


@pytest.mark.parametrize("model", ["owner/name@", "no name/at all", "/nowhere", "~/nowhere", "nothing"])
def test_a_model_that_is_none_is_the_generators_to_report(open_box, model: str) -> None:
    assert submitted(open_box(model=model), num_inference_steps=40)["adjusted"] == []


def test_what_nobody_knows_yet_is_not_said(box: Box) -> None:
    assert submitted(box, num_inference_steps=40)["adjusted"] == []


def checkpoint(folder: Path, scheduler: dict[str, Any]) -> Path:
    """The configs of LTX-2, without weights."""
    for name, content in {
        "model_index.json": {"_class_name": "LTX2Pipeline"},
        "transformer/config.json": {"num_layers": 48},
        "scheduler/scheduler_config.json": scheduler,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def test_the_documents_show_the_defaults_of_the_model_that_is_served(distilled: Box) -> None:
    described = distilled.client.get("/openapi.json").json()["paths"]
    body = described["/v1/video/async_t2v"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["num_inference_steps"]["default"] == 8
    assert body["properties"]["height"]["default"] == 512
    skill = distilled.client.get("/skill.md").text
    assert "| `num_inference_steps` | `8` |" in skill
    assert '"num_inference_steps": 8}' in skill


def test_before_the_model_is_known_the_documents_show_the_seeds_defaults(box: Box) -> None:
    described = box.client.get("/openapi.json").json()["paths"]
    body = described["/v1/videos"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["properties"]["num_inference_steps"]["default"] == 40
    assert "| `num_inference_steps` | `40` |" in box.client.get("/skill.md").text
