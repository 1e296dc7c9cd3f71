"""Delivery of a file in a bucket: streamed by the server, or directly from the bucket."""

import httpx
import pytest

from storage.outputs.s3 import S3OutputStore
from storage.outputs.s3_options import S3Options
from tests.ingress.conftest import POSTER, VIDEO
from tests.s3 import REGION, front_of, give_credentials, new_bucket, s3_server


@pytest.fixture(scope="module")
def endpoint():
    with s3_server() as url:
        yield url


@pytest.fixture
def front(endpoint):
    with front_of(endpoint) as front:
        yield front


@pytest.fixture
def bucket(front, endpoint, monkeypatch) -> S3OutputStore:
    """A bucket behind the fault-injecting proxy."""
    give_credentials(monkeypatch)
    options = S3Options(endpoint_url=front.url, region=REGION, max_attempts=1, read_timeout_s=5)
    return S3OutputStore(new_bucket(endpoint), "videos", options)


@pytest.fixture
def redirecting(open_box, bucket):
    return open_box(store=bucket, outputs={"delivery": "redirect"})


def test_a_file_in_a_bucket_is_sent_through_the_way_in(open_box, bucket):
    box = open_box(store=bucket)
    path = f"/outputs/ltx2_{box.finished()}.mp4"
    whole = box.client.get(path, follow_redirects=False)
    assert (whole.status_code, whole.content) == (200, VIDEO)
    part = box.client.get(path, headers={"range": "bytes=100-199", "if-range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, VIDEO[100:200])
    assert box.client.get(path, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert box.client.head(path).headers["content-length"] == str(len(VIDEO))


def test_redirected_clients_get_the_file_from_the_bucket_without_credentials(redirecting, front):
    body = redirecting.poll(redirecting.finished())
    for url, content, kind in ((body["url"], VIDEO, "video/mp4"), (body["poster_url"], POSTER, "image/jpeg")):
        answer = redirecting.client.get(url, follow_redirects=False)
        assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
        assert answer.headers["location"].startswith(front.url)
        file = httpx.get(answer.headers["location"])
        assert (file.status_code, file.content, file.headers["content-type"]) == (200, content, kind)
        assert url.rpartition("/")[2] in file.headers["content-disposition"]


def test_a_page_of_a_browser_reads_a_file_without_a_redirect(redirecting):
    url = redirecting.poll(redirecting.finished())["url"]
    file = redirecting.client.get(url, params={"redirect": "false"}, follow_redirects=False)
    assert (file.status_code, file.content) == (200, VIDEO)
    wrong = redirecting.client.get(url, params={"redirect": "perhaps"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "redirect")


def test_a_head_is_answered_by_the_way_in_while_it_redirects(redirecting):
    head = redirecting.client.head(f"/outputs/ltx2_{redirecting.finished()}.mp4", follow_redirects=False)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(VIDEO)))


@pytest.mark.parametrize("delivery", ["proxy", "redirect"])
def test_a_file_that_is_not_in_the_bucket_is_404(open_box, bucket, delivery):
    box = open_box(store=bucket, outputs={"delivery": delivery})
    for name in (f"ltx2_{'0' * 32}.mp4", f"ltx2_{'0' * 32}.mp4.1.part", "..%2finputs%2fx"):
        for method in ("GET", "HEAD"):
            assert box.client.request(method, f"/outputs/{name}", follow_redirects=False).status_code == 404


def test_a_folder_signs_nothing_and_sends_the_file_itself(open_box):
    box = open_box(outputs={"delivery": "redirect"})
    answer = box.client.get(f"/outputs/ltx2_{box.finished()}.mp4", follow_redirects=False)
    assert (answer.status_code, answer.content) == (200, VIDEO)


def test_a_bucket_that_does_not_answer_is_503_for_its_files_and_for_health_and_not_for_polls(open_box, bucket, front):
    box = open_box(store=bucket)
    task_id = box.finished()
    front.fault = lambda request: request.refuse(503, "SlowDown")
    answer = box.client.get(f"/outputs/ltx2_{task_id}.mp4")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "store_unavailable")
    health = box.client.get("/health")
    assert (health.status_code, "SlowDown" in health.json()["reason"]) == (503, True)
    assert box.poll(task_id)["status"] == "completed"


def test_the_page_may_show_what_the_bucket_sends_and_nothing_else(redirecting, open_box, front):
    policy = redirecting.client.get("/").headers["content-security-policy"].split("; ")
    assert f"media-src 'self' blob: {front.url}" in policy
    assert f"img-src 'self' blob: {front.url}" in policy
    assert "default-src 'self'" in policy
    assert front.url not in open_box(store=redirecting.outputs).client.get("/").headers["content-security-policy"]
