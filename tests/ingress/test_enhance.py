"""Prompt enhancement against a server that speaks OpenAI's chat completions, on real sockets."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import SecretStr

from deployments.observability.metrics.definitions import ENHANCED, NOT_ENHANCED, PROMPT_ENHANCEMENT_DURATION_SECONDS
from deployments.settings import Settings, SettingsError
from deployments.settings.enhance import API_KEY_VARIABLE
from tests.ingress.conftest import PROMPT, Box, image_file
from tests.ingress.language_model import KEY, WRITTEN, LanguageModel, completion, serve_language_model
from tests.metrics.recorded import RecordedMetrics


@pytest.fixture
def language_model() -> Iterator[LanguageModel]:
    with serve_language_model() as found:
        yield found


@pytest.fixture
def box(open_box: Callable[..., Box], language_model: LanguageModel) -> Box:
    return open_box(enhance=language_model.settings)


def enhance(box: Box, **fields: Any) -> Any:
    return box.client.post("/v1/video/enhance", json={"prompt": PROMPT, **fields})


def test_the_route_answers_with_the_prompt_as_the_language_model_wrote_it(box, language_model):
    answer = enhance(box, num_frames=49)
    assert answer.json() == {"prompt": PROMPT, "enhanced_prompt": WRITTEN}
    assert box.client.get("/v1/video/tasks").json()["tasks"] == []
    (asked,) = language_model.asked
    assert asked.keys() == {"model", "messages"}, "fields that only some models take"
    assert asked["model"] == "writer"
    system, user = asked["messages"]
    assert "LTX-2" in system["content"]
    assert PROMPT in user["content"]
    assert "2.0 seconds" in user["content"]
    assert language_model.keys == [f"Bearer {KEY}"]


def test_images_go_along_small_and_with_their_places(box, language_model):
    files = [(name, image_file(2000, 1000)) for name in ("image", "end_image", "keyframe")]
    answer = box.client.post("/v1/video/enhance", data={"prompt": PROMPT, "keyframe_at": "2.0s"}, files=files)
    assert answer.status_code == 200, answer.text
    text, *images = language_model.asked[0]["messages"][1]["content"]
    assert PROMPT in text["text"]
    for number, place in enumerate(("the first frame", "the last frame", "the frame at 2.0 seconds"), 1):
        assert f"Image {number} is {place}." in text["text"]
    for each in images:
        head, _, content = each["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) <= 896
    assert len(images) == 3


def test_a_submit_is_rendered_with_the_written_prompt_and_says_so(box):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "enhance_prompt": True}).json()
    (told,) = [each for each in answer["adjusted"] if each["field"] == "prompt"]
    assert (told["given"], told["used"]) == (PROMPT, WRITTEN)
    assert box.row(answer["task_id"]).rendered_request.prompt == WRITTEN
    assert box.poll(answer["task_id"])["adjusted"] == answer["adjusted"]


def test_a_form_asks_for_it_in_words(box):
    fields = {"prompt": PROMPT, "enhance_prompt": "true"}
    answer = box.client.post("/v1/video/async_i2v", data=fields, files={"image": image_file()}).json()
    assert box.row(answer["task_id"]).request.prompt == WRITTEN


@pytest.mark.parametrize("given", [{}, {"enhance_prompt": False}, {"enhance_prompt": None}])
def test_who_does_not_ask_is_not_told_to_the_language_model(box, language_model, given):
    assert box.row(box.submit(**given)).request.prompt == PROMPT
    assert language_model.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"error": "overloaded"}, 529),
        JSONResponse(completion("cut off in the mid", finish_reason="length")),
        JSONResponse(completion("")),
        JSONResponse(completion("x" * 5001)),
        JSONResponse(completion(None)),
        JSONResponse(completion(["a", "list"])),
        JSONResponse(completion("<think>only thoughts</think>")),
        JSONResponse(completion("<think>thoughts without an end")),
        JSONResponse({"choices": []}),
        JSONResponse(["no", "object"]),
        Response(b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
        Response(b"no json"),
        Response(b"[" * 100_000),
        Response(b" " * 2_000_000),
    ],
    ids=lambda answer: str(answer.status_code) + answer.body[:40].decode(),
)
def test_a_language_model_that_fails_leaves_the_prompt_as_it_was(box, language_model, answer):
    language_model.answer = answer
    refused = enhance(box)
    assert refused.status_code == 503
    assert refused.json()["error_code"] == "enhancement_failed"
    assert refused.json()["retryable"]
    submitted = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "enhance_prompt": True}).json()
    assert box.row(submitted["task_id"]).rendered_request.prompt == PROMPT
    (told,) = submitted["adjusted"]
    assert (told["field"], told["given"], told["used"]) == ("enhance_prompt", True, False)
    assert "as you gave it" in told["reason"]


def test_one_that_hangs_is_left_after_its_time(open_box, language_model):
    language_model.delay_s = 30
    box = open_box(enhance={**language_model.settings, "timeout_s": 0.2})
    assert "0.2 s" in enhance(box).json()["error"]
    submitted = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "enhance_prompt": True}).json()
    assert "0.2 s" in submitted["adjusted"][0]["reason"]


def test_one_that_is_away_is_told(open_box):
    box = open_box(enhance={"base_url": "http://127.0.0.1:9/v1", "model": "writer"})
    assert enhance(box).json()["error"] == "the language model could not be reached"


def test_a_server_without_one_says_so(open_box):
    box = open_box()
    assert enhance(box).status_code == 422
    assert "enhance.base_url" in enhance(box).json()["error"]
    refused = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "enhance_prompt": True})
    assert (refused.status_code, refused.json()["field"]) == (422, "enhance_prompt")
    assert not box.client.get("/health").json()["enhances_prompts"]


def test_health_tells_that_there_is_one(box):
    assert box.client.get("/health").json()["enhances_prompts"]


def test_a_repeated_submit_returns_its_task_and_asks_once(box, language_model):
    fields, headers = {"prompt": PROMPT, "enhance_prompt": True}, {"Idempotency-Key": "one"}
    first = box.client.post("/v1/video/async_t2v", json=fields, headers=headers).json()
    language_model.answer = JSONResponse(completion("another text"))
    again = box.client.post("/v1/video/async_t2v", json=fields, headers=headers).json()
    assert again["task_id"] == first["task_id"]
    assert again["adjusted"] == first["adjusted"]
    assert len(language_model.asked) == 1


def test_a_bad_request_does_not_reach_the_language_model(box, language_model):
    assert enhance(box, height=100).json()["field"] == "height"
    refused = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT, "enhance_prompt": True, "width": 1})
    assert refused.json()["field"] == "width"
    assert language_model.asked == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f'"{PROMPT}"', PROMPT),
        (f"<think>a\nb</think>\n\n{PROMPT}\n", PROMPT),
        (f"They want a video. So I write it.</think>\n\n{PROMPT}", PROMPT),
        (WRITTEN, WRITTEN),
        ('"One." he says. "Two."', '"One." he says. "Two."'),
        ("two\n\nparagraphs", "two paragraphs"),
    ],
)
def test_what_is_around_the_text_goes(box, language_model, text, kept):
    language_model.answer = JSONResponse(completion(text))
    assert enhance(box).json()["enhanced_prompt"] == kept


def test_only_so_many_at_once(served_box, language_model):
    box = served_box(enhance={**language_model.settings, "max_concurrent": 1})
    language_model.delay_s = 3
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(enhance, box)
        while not language_model.asked:
            time.sleep(0.01)
        refused = enhance(box)
        assert (refused.status_code, refused.json()["error_code"]) == (429, "too_many_requests")
        assert "retry-after" in refused.headers
        assert slow.result().status_code == 200


def test_each_is_measured(open_box, language_model):
    metrics = RecordedMetrics()
    box = open_box(enhance=language_model.settings, metrics=metrics)
    enhance(box)
    language_model.answer = Response(b"")
    enhance(box)
    for outcome in (ENHANCED, NOT_ENHANCED):
        assert len(metrics.seen(PROMPT_ENHANCEMENT_DURATION_SECONDS, outcome=outcome)) == 1


def test_the_key_is_never_stored_with_the_settings(monkeypatch, language_model):
    with pytest.raises(SettingsError, match=API_KEY_VARIABLE):
        Settings(enhance=language_model.settings).without_secrets()
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    stored = Settings(enhance={"base_url": "http://h/v1", "model": "m"}).without_secrets()
    assert KEY not in stored.model_dump_json()
    assert stored.enhance.api_key is None
    assert stored.with_secrets().enhance.api_key == SecretStr(KEY)


def test_the_log_repeats_no_prompt(box, language_model, caplog):
    error = {"type": "invalid_request_error", "code": "too_long", "message": PROMPT}
    language_model.answer = JSONResponse({"error": error}, 400)
    enhance(box)
    assert "invalid_request_error, too_long" in caplog.text
    assert PROMPT not in caplog.text


def test_the_estimate_refuses_what_a_submit_refuses(open_box):
    answer = open_box().client.post("/v1/video/estimate", json={"prompt": PROMPT, "enhance_prompt": True})
    assert (answer.status_code, answer.json()["field"]) == (422, "enhance_prompt")


def test_an_address_holds_no_password():
    with pytest.raises(SettingsError, match="without a user name") as refused:
        Settings(enhance={"base_url": "http://me:hush@h/v1", "model": "m"})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("given", [{"base_url": "http://h/v1"}, {"model": "m"}])
def test_address_and_name_belong_together(given):
    with pytest.raises(SettingsError, match="together"):
        Settings(enhance=given)
