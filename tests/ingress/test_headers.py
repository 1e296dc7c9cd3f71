"""Every response has the security headers, whatever its status."""

import sqlite3

import pytest

from deployments.ingress.middleware.headers import SECURITY_HEADERS


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/video/tasks/none", 404),
        ("GET", "/outputs/none.mp4", 404),
        ("GET", "/nothing/here", 404),
        ("PUT", "/health", 405),
        ("POST", "/v1/video/async_t2v", 422),
    ],
)
def test_every_answer_carries_the_safe_headers(box, method, path, status):
    answer = box.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers.items() >= {name.lower(): value for name, value in SECURITY_HEADERS.items()}.items()


def test_no_cache_keeps_how_a_task_stood_or_that_a_file_was_not_there_yet(box):
    task_id = box.submit()
    for path in (f"/v1/video/tasks/{task_id}", f"/outputs/ltx2_{task_id}.mp4", "/v1/video/tasks", "/health"):
        assert box.client.get(path).headers["cache-control"] == "no-store", path
    guide = box.client.get("/skill.md").headers
    assert (guide["cache-control"], guide["vary"]) == ("no-store", "Host"), "it repeats the client's Host"
    for path in ("/", "/docs", "/page/main.js"):
        assert box.client.get(path).headers["cache-control"] == "no-cache", path


def test_a_file_carries_them_once_with_its_own_cache_rule(box):
    url = box.poll(box.finished())["url"]
    for answer in (box.client.get(url), box.client.get(url, headers={"Range": "bytes=0-9"}), box.client.head(url)):
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers["cache-control"].startswith("private")


def test_an_error_of_the_servers_own_carries_them_and_tells_nothing(box):
    task_id = box.submit()
    with sqlite3.connect(box.folder / "tasks.db") as damaged:
        damaged.execute("UPDATE tasks SET request = '{}'")
    damaged.close()
    answer = box.client.get(f"/v1/video/tasks/{task_id}")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["error"] == "the server met an error of its own"


def test_no_answer_names_the_software_that_made_it(box):
    names = {name for path in ("/health", "/v1/video/tasks/none") for name in box.client.get(path).headers}
    assert names.isdisjoint({"server", "x-powered-by", "via"})
