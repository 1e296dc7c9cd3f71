"""The task's row stores the submit's request id and trace context."""

import logging

import pytest

from storage.tasks import RequestContext

REQUEST_ID = "checkout-42/a"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def origin_of(box, **headers: str) -> RequestContext:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "waves"}, headers=named)
    assert answer.status_code == 200, answer.text
    return box.row(answer.json()["task_id"]).context


def test_request_id_and_traceparent_are_kept(box):
    assert origin_of(box, x_request_id=REQUEST_ID, traceparent=TRACEPARENT) == RequestContext(REQUEST_ID, TRACEPARENT)
    assert origin_of(box) == RequestContext(None, None)


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 129, "caf\xe9"])
def test_a_request_id_that_no_log_should_hold_counts_as_missing(box, request_id):
    headers = {"x-request-id": request_id.encode("latin-1")}
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "waves"}, headers=headers)
    assert box.row(answer.json()["task_id"]).context.request_id is None


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-abc-def-01",
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        TRACEPARENT + "-more",
    ],
)
def test_a_traceparent_that_is_none_counts_as_missing(box, traceparent):
    assert origin_of(box, traceparent=traceparent).traceparent is None


def test_a_prompt_is_logged_only_where_that_is_asked_for(open_box, monkeypatch, caplog):
    # Ray disables propagation to the root logger when it is imported
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    caplog.set_level(logging.INFO, "ray.serve")
    open_box().submit(prompt="a secret lighthouse")
    assert "accepted" in caplog.text
    assert "lighthouse" not in caplog.text
    open_box(log={"include_prompts": True}).submit(prompt="a known lighthouse")
    assert "a known lighthouse" in caplog.text
