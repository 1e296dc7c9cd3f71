"""A webhook from the submit to the delivery, for every way to submit, with the app as a replica runs it."""

import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deployments.settings import WebhookSettings
from deployments.settings.api_keys import hash_key
from tests.ingress.conftest import PROMPT, Box, image_file
from tests.ingress.keys import ALICE, BOB, KEYS, speaking_as
from tests.ingress.webhooks.receivers import OLD_SECRET, SECRET, Answer

ROOT = Path(__file__).parents[3]
TOLD = {"secret": SECRET, "allow_private": True}


def delivered(box: Box, task_id: str) -> dict[str, object]:
    """Poll until the message of a task has been delivered."""
    while (body := box.poll(task_id))["webhook"]["state"] == "pending":
        time.sleep(0.02)
    return body


def by_json(box: Box, url: str) -> str:
    return box.submit(webhook_url=url)


def by_form(box: Box, url: str) -> str:
    files = {"image": ("photo.png", image_file())}
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT, "webhook_url": url}, files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def by_openai(box: Box, url: str) -> str:
    answer = box.client.post("/v1/videos", json={"prompt": PROMPT, "webhook_url": url})
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == []
    return str(answer.json()["id"]).removeprefix("video_")


@pytest.mark.parametrize("submit", [by_json, by_form, by_openai])
def test_the_end_of_a_task_is_told_whichever_door_it_came_by(open_box, receive, submit):
    receiver = receive()
    box = open_box(webhooks=TOLD)
    task_id = submit(box, receiver.url())
    assert box.poll(task_id)["webhook"] == {"state": "pending", "attempts": 0}
    box.complete(box.start())
    body = delivered(box, task_id)
    assert body["webhook"] == {"state": "delivered", "attempts": 1}
    (message,) = receiver.messages
    told = message.verified()
    assert told["data"] == {name: value for name, value in body.items() if name != "webhook"}


def test_a_cancel_is_told_too(open_box, receive):
    receiver = receive()
    box = open_box(webhooks=TOLD)
    task_id = box.submit(webhook_url=receiver.url())
    assert box.client.delete(f"/v1/video/tasks/{task_id}").json()["outcome"] == "canceled"
    delivered(box, task_id)
    told = receiver.messages[0].verified()
    assert (told["type"], told["data"]["error_code"]) == ("video.canceled", "canceled")


def test_the_list_shows_webhooks_and_a_task_without_one_shows_none(open_box, receive):
    box = open_box(webhooks=TOLD)
    box.submit()
    box.submit(webhook_url=receive().url())
    shown = box.client.get("/v1/video/tasks").json()["tasks"]
    assert [each.get("webhook") for each in shown] == [{"state": "pending", "attempts": 0}, None]


def test_nobody_who_polls_learns_the_url(open_box, receive):
    """The url may contain a token of the receiver, and other clients may poll."""
    receiver = receive()
    box = open_box(webhooks=TOLD)
    task_id = box.submit(webhook_url=receiver.url())
    assert box.client.delete(f"/v1/video/tasks/{task_id}").status_code == 200
    delivered(box, task_id)
    assert "token" not in box.client.get(f"/v1/video/tasks/{task_id}").text + receiver.messages[0].body.decode()


def test_an_empty_field_of_a_form_means_none(box):
    files = {"image": ("photo.png", image_file())}
    answer = box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT, "webhook_url": ""}, files=files)
    assert answer.status_code == 200, answer.text
    assert box.row(answer.json()["task_id"]).request.webhook_url is None


def test_the_docs_describe_what_is_sent(open_box, receive):
    receiver = receive()
    box = open_box(webhooks=TOLD)
    task_id = box.submit(webhook_url=receiver.url())
    box.complete(box.start())
    delivered(box, task_id)
    message = receiver.messages[0]
    described = box.client.get("/openapi.json").json()
    sent = described["webhooks"]["video-ended"]["post"]
    assert {each["name"] for each in sent["parameters"]} <= message.headers.keys()
    schema = {**sent["requestBody"]["content"]["application/json"]["schema"], "components": described["components"]}
    jsonschema.validate(message.verified(), schema)
    jsonschema.validate(sent["requestBody"]["content"]["application/json"]["example"], schema)


def test_where_there_are_keys_the_url_that_is_told_opens_without_one(open_box, receive):
    receiver = receive()
    box = open_box(webhooks=TOLD, api_keys=[{"name": "alice", "sha256": hash_key("k")}])
    fields = {"prompt": PROMPT, "webhook_url": receiver.url()}
    alice = {"Authorization": "Bearer k"}
    task_id = box.client.post("/v1/video/async_t2v", json=fields, headers=alice).json()["task_id"]
    box.complete(box.start())
    while box.poll(task_id, headers=alice)["webhook"]["state"] == "pending":
        time.sleep(0.02)
    told = receiver.messages[0].verified(WebhookSettings(**TOLD).secrets_of("alice")[0])
    url = told["data"]["url"]
    assert "signature=" in url
    assert box.client.get(url).status_code == 200


def test_what_was_given_up_is_sent_again_when_its_client_asks(open_box, receive):
    receiver = receive(Answer(410), Answer())
    box = open_box(webhooks=TOLD)
    task_id = box.submit(webhook_url=receiver.url())
    again = f"/v1/video/tasks/{task_id}/webhook"
    assert box.client.post(again).json()["error_code"] == "conflict", "it has not ended"
    box.complete(box.start())
    assert delivered(box, task_id)["webhook"]["state"] == "failed"
    answer = box.client.post(again)
    assert (answer.status_code, answer.json()["webhook"]["state"]) == (200, "pending")
    assert delivered(box, task_id)["webhook"]["state"] == "delivered"
    first, second = receiver.messages
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    refused = box.client.post(again)
    assert (refused.status_code, refused.json()["error_code"]) == (409, "conflict")
    assert "its receiver has the message" in refused.json()["error"]
    assert box.client.post(f"/v1/video/tasks/{box.finished()}/webhook").status_code == 409
    assert box.client.post("/v1/video/tasks/unknown/webhook").status_code == 404


def test_nobody_sends_the_webhook_of_another_owner_again(open_box, receive):
    box = open_box(webhooks=TOLD, api_keys=KEYS)
    with speaking_as(box, ALICE):
        task_id = box.submit(webhook_url=receive(Answer(410)).url())
        box.complete(box.start())
        delivered(box, task_id)
    with speaking_as(box, BOB):
        assert box.client.post(f"/v1/video/tasks/{task_id}/webhook").status_code == 404
    assert box.client.post(f"/v1/video/tasks/{task_id}/webhook").status_code == 401


def test_the_receiver_of_the_guide_believes_the_server_and_nobody_else(open_box, receive):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(), re.DOTALL)
    guide: dict[str, Any] = {}
    exec(code, guide)
    receiver = receive()
    box = open_box(webhooks=TOLD)
    task_id = box.submit(webhook_url=receiver.url())
    box.complete(box.start())
    delivered(box, task_id)
    message = receiver.messages[0]
    assert guide["ended"](SECRET, message.headers, message.body)["data"]["task_id"] == task_id
    assert guide["ended"](SECRET, message.headers, message.body + b" ") is None
    assert guide["ended"](OLD_SECRET, message.headers, message.body) is None
