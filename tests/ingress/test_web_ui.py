"""The web UI's files: complete, cached until they change, and bound to this server."""

import re

from deployments.ingress.routes.web_ui import read_page


def test_the_page_is_html_that_may_load_from_this_server_alone(box):
    answer = box.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_every_file_that_the_page_names_is_there(box):
    page = read_page()
    named = set(re.findall(r'(?:href|src)="page/([^"]+)"', box.client.get("/").text))
    for name, file in page.items():
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([^"]+)"', file.content.decode()))
    assert named | {"index.html"} == page.keys()
    for name in named:
        answer = box.client.get(f"/page/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, page[name].media_type)


def test_only_the_api_module_opens_connections():
    talking = re.compile(r"\bfetch\(|new EventSource|XMLHttpRequest|WebSocket|sendBeacon|import\(")
    assert {name for name, file in read_page().items() if talking.search(file.content.decode())} == {"api.js"}


def test_a_file_that_has_not_changed_is_not_sent_again(box):
    first = box.client.get("/page/main.js")
    again = box.client.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = box.client.get("/page/main.js", headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_what_is_no_file_of_the_page_is_404(box):
    for name in ("none.js", "..%2fapp.py", "%2e%2e/page.py", "index.htm"):
        assert box.client.get(f"/page/{name}").status_code == 404
