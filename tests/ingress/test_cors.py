"""Scripts of other sites may call the server only if the settings name those sites."""

import pytest

from deployments.settings import Settings, SettingsError
from storage.tasks import State
from tests.ingress.keys import ALICE, KEYS, bearer, speaking_as

SITE = "https://app.example.com"
PREFLIGHT = {
    "Origin": SITE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


def test_no_site_may_by_default(open_box):
    answer = open_box().client.get("/health", headers={"Origin": SITE})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_site_that_is_named_may_with_its_key(open_box):
    box = open_box(cors_origins=[SITE], api_keys=KEYS)
    asked = box.client.options("/v1/video/async_t2v", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == SITE
    assert "DELETE" in asked.headers["access-control-allow-methods"]
    for name in ("Authorization", "Content-Type", "Idempotency-Key"):
        assert name in asked.headers["access-control-allow-headers"]
    answer = box.client.get("/v1/video/tasks", headers=bearer(ALICE) | {"Origin": SITE})
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_a_refusal_can_be_read_by_that_site(open_box):
    box = open_box(cors_origins=[SITE], api_keys=KEYS)
    answer = box.client.get("/v1/video/tasks", headers={"Origin": SITE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, SITE)


@pytest.mark.parametrize("origin", ["https://app.example.com.evil.example", "http://app.example.com", "null"])
def test_any_other_site_may_not(open_box, origin):
    box = open_box(cors_origins=[SITE])
    assert "access-control-allow-origin" not in box.client.get("/health", headers={"Origin": origin}).headers
    assert box.client.options("/v1/video/async_t2v", headers=PREFLIGHT | {"Origin": origin}).status_code == 400


@pytest.mark.parametrize("origin", [None, SITE, "https://elsewhere.example"])
def test_answers_differ_by_origin_for_every_cache(open_box, origin):
    """Also responses to no site and to another site: a cache must not serve them to the allowed site."""
    box = open_box(cors_origins=[SITE], api_keys=KEYS)
    with speaking_as(box, ALICE):
        video = f"/outputs/ltx2_{box.finished()}.mp4"
    sent = {} if origin is None else {"Origin": origin}
    answers = [
        box.client.get(path, headers=sent | bearer(key))
        for path in ("/", "/health", "/page/main.js", "/skill.md", "/openapi.json", "/v1/video/tasks", "/v1/no", video)
        for key in (ALICE, "nobody's")
    ]
    assert {each.status_code for each in answers} == {200, 401, 404}
    assert all("Origin" in each.headers["vary"].split(", ") for each in answers)


@pytest.mark.parametrize("origin", ["*", "app.example.com", "https://app.example.com/", "https://*.example.com"])
def test_an_origin_is_written_as_a_browser_sends_it(origin):
    with pytest.raises(SettingsError, match="cors_origins"):
        Settings(cors_origins=[origin])


ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}


@pytest.mark.parametrize("named", [(), (SITE,)])
def test_a_page_of_another_site_starts_and_ends_no_task_from_the_browser_of_a_visitor(open_box, named):
    """A form can be sent without CORS, and the browser sends it from inside the visitor's network."""
    box = open_box(cors_origins=named)
    task_id = box.submit()
    answers = [
        box.client.post("/v1/video/async_t2v", content=b'{"prompt": "x"}', headers=ELSEWHERE),
        box.client.post("/v1/video/async_i2v", data={"prompt": "x"}, headers=ELSEWHERE),
        box.client.delete(f"/v1/video/tasks/{task_id}", headers=ELSEWHERE),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert answers[0].json()["error_code"] == "forbidden"
    assert "cors_origins" in answers[0].json()["error"]
    assert box.client.post("/v1/videos", headers=ELSEWHERE).json()["error"]["code"] == "forbidden"
    assert box.tasks.counts() == {State.QUEUED: 1, State.PROCESSING: 0}


def test_a_neighbour_is_another_site_where_there_are_no_keys(open_box):
    """Another port of localhost, or another host of the domain: its form carries no key."""
    headers = {"Sec-Fetch-Site": "same-site", "Origin": SITE}
    fields = {"json": {"prompt": "x"}, "headers": headers}
    assert open_box().client.post("/v1/video/async_t2v", **fields).status_code == 403
    assert open_box(cors_origins=[SITE]).client.post("/v1/video/async_t2v", **fields).status_code == 200
    fields["headers"] = headers | bearer(ALICE)
    assert open_box(api_keys=KEYS).client.post("/v1/video/async_t2v", **fields).status_code == 200


@pytest.mark.parametrize("told", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_our_own_page_and_programs_that_are_no_browser_may(open_box, told):
    answer = open_box().client.post("/v1/video/async_t2v", json={"prompt": "x"}, headers=told)
    assert answer.status_code == 200


def test_a_site_that_is_named_may_submit(open_box):
    headers = ELSEWHERE | {"Origin": SITE}
    answer = open_box(cors_origins=[SITE]).client.post("/v1/video/async_t2v", json={"prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, SITE)


def test_a_link_from_another_site_opens_the_page_and_a_video(open_box):
    box = open_box()
    for path in ("/", f"/outputs/ltx2_{box.finished()}.mp4"):
        assert box.client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
