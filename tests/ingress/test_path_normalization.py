"""An extra slash in a path changes neither the response nor the access check."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.ingress.middleware.auth import is_public
from deployments.ingress.middleware.paths import normalize_path
from tests.ingress.conftest import PROMPT, VIDEO
from tests.ingress.keys import KEYS
from tests.ingress.test_errors import refused


def test_a_slash_too_many_is_passed_over(box):
    for path in ("//v1/videos", "/v1/videos/", "/v1//video/tasks///", "/health/", "//docs", "/v1/models//"):
        answer = box.client.get(f"http://192.168.1.26:8004{path}", follow_redirects=False)
        assert answer.status_code == 200, path
        assert answer.content == box.client.get(re.sub("/+", "/", path).rstrip("/")).content


def test_a_submit_and_a_download_with_a_slash_too_many_work(box):
    assert box.client.post("/v1/video/async_t2v/", json={"prompt": PROMPT}).status_code == 200
    task_id = box.start().id
    box.complete(box.row(task_id))
    assert box.client.get(f"/outputs//ltx2_{task_id}.mp4").content == VIDEO
    assert box.client.get("//").headers["content-type"].startswith("text/html")


PIECES = st.sampled_from(
    [
        *("/", "//", "///", "v1", "video", "videos", "tasks", "outputs", "health", "docs", "page", "openapi.json"),
        *("skill.md", "models", "estimate", "..", ".", "%2e%2e", "%2f", "%2F", "%5c", "\\", ";", "%00", "?", "%3f"),
    ]
)


def test_no_spelling_of_a_path_opens_what_needs_a_key(open_box):
    """The access check and the routes see the same path, however it is spelled."""
    box = open_box(api_keys=KEYS)
    seen = set()

    @settings(max_examples=400, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(PIECES, min_size=1, max_size=9))
    def try_it(pieces: list[str]) -> None:
        request = box.client.build_request("GET", "http://192.168.1.26:8004/")
        request.url = request.url.copy_with(raw_path=("/" + "".join(pieces)).encode())
        answer = box.client.send(request, follow_redirects=False)
        path = normalize_path(request.url.path)
        if not is_public(path) and not path.startswith("/outputs/"):
            assert answer.status_code == 401, (request.url.raw_path, answer.text)
        seen.add(answer.status_code)

    try_it()
    assert {200, 401} <= seen


def test_an_unknown_path_is_still_unknown(box):
    assert refused(box.client.get("/outputs/"), 404).error_code == "not_found"
