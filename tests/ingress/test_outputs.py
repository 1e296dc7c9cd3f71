"""Downloads: ranges, conditional requests, and no file outside the folder."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.ingress.context import FILE_THREADS
from tests.ingress.conftest import POSTER, VIDEO

SIZE = len(VIDEO)


@pytest.fixture
def path(box) -> str:
    """The path of a finished video."""
    return f"/outputs/ltx2_{box.finished()}.mp4"


def test_a_finished_video_is_served_whole(box, path):
    answer = box.client.get(path)
    assert (answer.status_code, answer.content) == (200, VIDEO)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["last-modified"]


def test_its_poster_is_served_beside_it(box, path):
    answer = box.client.get(path.replace(".mp4", ".jpg"))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, POSTER, "image/jpeg")


def test_the_url_of_a_poll_is_the_file(box):
    body = box.poll(box.finished())
    assert box.client.get(body["url"]).content == VIDEO
    assert box.client.get(body["poster_url"]).content == POSTER


def test_a_download_has_a_name_of_its_own(box, path):
    """`curl -OJ` and a browser's "save as" use the name. Inline, so that the web UI and browsers show the video."""
    task_id = path[len("/outputs/ltx2_") : -len(".mp4")]
    for where, name in {
        path: f"ltx2_{task_id}.mp4",
        path.replace(".mp4", ".jpg"): f"ltx2_{task_id}.jpg",
        f"/v1/videos/video_{task_id}/content": f"video_{task_id}.mp4",
    }.items():
        for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-1"})):
            answer = box.client.request(method, where, headers=headers)
            assert answer.headers["content-disposition"] == f'inline; filename="{name}"'


def test_head_has_the_headers_and_no_body(box, path):
    whole, head = box.client.get(path), box.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "accept-ranges", "last-modified"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=0-", 0, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE * 9}", SIZE - 1, SIZE),
        ("Bytes=5-9", 5, 10),
    ],
)
def test_a_range_is_206_with_that_part(box, path, asked, start, end):
    answer = box.client.get(path, headers={"range": asked})
    assert (answer.status_code, answer.content) == (206, VIDEO[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
def test_a_range_outside_is_416_with_the_size(box, path, asked):
    answer = box.client.get(path, headers={"range": asked})
    assert (answer.status_code, answer.json()["error_code"]) == (416, "range_not_satisfiable")
    assert str(SIZE) in answer.json()["error"]
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=9-5", "bytes=a-b", "chunks=0-5", "bytes=0-5,7-9", "0-5", ""])
def test_a_range_that_cannot_be_read_gets_the_whole_file(box, path, asked):
    answer = box.client.get(path, headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, VIDEO)


def test_a_copy_that_is_still_good_is_304(box, path):
    headers = box.client.get(path).headers
    for condition in (
        {"if-none-match": headers["etag"]},
        {"if-none-match": f'"other", W/{headers["etag"]}'},
        {"if-none-match": "*"},
        {"if-modified-since": headers["last-modified"]},
        {"if-none-match": headers["etag"], "if-modified-since": formatdate(0, usegmt=True)},
        {"if-none-match": headers["etag"], "range": "bytes=0-5"},
    ):
        answer = box.client.get(path, headers=condition)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", headers["etag"]), condition


def test_a_part_of_another_file_than_the_client_began_with_is_412(box, path):
    headers = box.client.get(path).headers
    for condition in (
        {"if-match": '"other"'},
        {"if-match": f"W/{headers['etag']}"},
        {"if-unmodified-since": formatdate(0, usegmt=True)},
    ):
        answer = box.client.get(path, headers=condition | {"range": "bytes=0-5"})
        assert (answer.status_code, answer.json()["error_code"]) == (412, "precondition_failed"), condition
    for condition in (
        {"if-match": f'"other", {headers["etag"]}'},
        {"if-match": "*"},
        {"if-unmodified-since": headers["last-modified"]},
        {"if-unmodified-since": "yesterday"},
    ):
        assert box.client.get(path, headers=condition | {"range": "bytes=0-5"}).status_code == 206, condition


def test_another_copy_gets_the_file(box, path):
    headers = box.client.get(path).headers
    for condition in (
        {"if-none-match": '"other"'},
        {"if-none-match": '"other"', "if-modified-since": headers["last-modified"]},
        {"if-modified-since": formatdate(0, usegmt=True)},
        {"if-modified-since": "yesterday"},
        {"if-modified-since": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"},
        {"if-modified-since": f"Mon, 01 Jan 2001 00:00:00 +{'9' * 20}"},
        {"if-range": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", "range": "bytes=0-5"},
    ):
        assert box.client.get(path, headers=condition).status_code == 200, condition


def test_a_part_is_sent_only_of_the_file_that_if_range_names(box, path):
    headers = box.client.get(path).headers
    for condition, status in (
        (headers["etag"], 206),
        (headers["last-modified"], 206),
        ('"other"', 200),
        (f"W/{headers['etag']}", 200),
        (formatdate(0, usegmt=True), 200),
        ("nonsense", 200),
    ):
        answer = box.client.get(path, headers={"range": "bytes=0-5", "if-range": condition})
        assert answer.status_code == status, condition


header = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
dates = st.builds(
    "{} {} {} {}:00:00 {}".format,
    st.integers(0, 40),
    st.sampled_from(["Jan", "Feb"]),
    st.integers(0, 99999),
    st.integers(0, 30),
    st.sampled_from(["GMT", "-0000", "+9999"]),
)
NAMES = ["range", "if-range", "if-none-match", "if-modified-since"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(NAMES), header | dates, max_size=3))
def test_no_header_upsets_the_server(box, path, headers):
    assert box.client.get(path, headers=headers).status_code in (200, 206, 304, 416)


ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "name",
    [
        f"ltx2_{ID}.mp4",
        "../tasks.db",
        "..%2ftasks.db",
        "%2e%2e%2f%2e%2e%2ftasks.db",
        "..%5ctasks.db",
        "%252e%252e%252ftasks.db",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "file:///etc/passwd",
        ".hidden",
        ".",
        "secret.txt",
        f"ltx2_{ID}.txt",
        f"ltx2_{ID}.mp4.1.part",
        f"ltx2_{ID}.jpg.1.part",
        f"ltx2_{ID}.mp4%00.txt",
        f"ltx2_{ID}.mp4%0a",
        f"ltx2_{ID}.mp4/",
        f"./ltx2_{ID}.mp4",
        f"LTX2_{ID}.MP4",
        "ltx2_.mp4",
        "ltx2_..mp4",
        f"ltx2_{ID[:-1]}%2f.mp4",
        "x" * 5000,
    ],
)
def test_any_other_name_is_404_and_opens_nothing(box, name):
    folder = box.folder / "store" / "outputs"
    folder.mkdir(parents=True)
    for hidden in (".hidden", "secret.txt", f"ltx2_{ID}.txt", f"ltx2_{ID}.mp4.1.part", f"ltx2_{ID}.jpg.1.part"):
        (folder / hidden).write_bytes(b"secret")
    for method in ("GET", "HEAD"):
        answer = box.client.request(method, f"http://box/outputs/{name}", follow_redirects=True)
        assert answer.status_code == 404
        assert b"secret" not in answer.content
        assert method == "HEAD" or answer.json()["error_code"] == "not_found"


def test_an_image_that_waits_for_its_task_cannot_be_downloaded(box):
    box.outputs.put(f"inputs/{ID}", b"private")
    for path in (f"/inputs/{ID}", f"/outputs/{ID}", f"/outputs/../inputs/{ID}", f"/outputs/..%2finputs%2f{ID}"):
        assert box.client.get(path).status_code == 404


def test_a_file_that_vanished_is_404(box, path):
    (box.folder / "store" / path.lstrip("/")).unlink()
    assert box.client.get(path).status_code == 404


def test_downloads_from_a_store_that_hangs_take_no_thread_from_polls(box, path):
    """A pipe replaces the file: opening it blocks until another process writes."""
    file, task_id = box.folder / "store" / path.lstrip("/"), path[len("/outputs/ltx2_") : -len(".mp4")]
    file.unlink()
    os.mkfifo(file)
    with ThreadPoolExecutor(61) as pool:
        downloads = [pool.submit(box.client.get, path) for _ in range(60)]
        try:
            wait_for_readers(file)
            for _ in range(20):
                assert pool.submit(box.client.get, f"/v1/video/tasks/{task_id}").result(30).status_code == 200
        finally:
            release(file, pool, downloads)
    assert [each.result().status_code for each in downloads] == [200] * 60


def wait_for_readers(file: Path) -> None:
    """Wait until all of the server's download threads are blocked."""
    deadline = time.monotonic() + 60
    while sum(each.name.startswith("files") for each in threading.enumerate()) < FILE_THREADS:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def release(file: Path, pool: ThreadPoolExecutor, downloads: list) -> None:
    writer = os.open(file, os.O_RDWR | os.O_NONBLOCK)
    pool.shutdown(wait=True)
    os.close(writer)


# -- a file that a completed task has lost


@pytest.mark.parametrize("route", ["/outputs/ltx2_{}.mp4", "/v1/videos/video_{}/content"])
def test_a_lost_file_of_a_completed_task_is_told_to_the_client_and_in_health(box, route):
    task_id = box.finished()
    file = box.folder / "store" / "outputs" / f"ltx2_{task_id}.mp4"
    assert file.is_file()
    content = file.read_bytes()
    file.unlink()
    answer = box.client.get(route.format(task_id))
    assert answer.status_code == 404
    assert "lost this file" in answer.text
    (notice,) = [each for each in box.client.get("/health").json()["notices"] if "has lost" in each]
    assert f"1 file of completed tasks (outputs/ltx2_{task_id}.mp4)" in notice
    file.write_bytes(content)
    assert box.client.get(route.format(task_id)).status_code == 200
    assert not [each for each in box.client.get("/health").json()["notices"] if "has lost" in each]


def test_a_file_of_no_task_and_one_of_a_deleted_task_are_no_loss(box):
    task_id = box.finished()
    assert box.client.delete(f"/v1/video/tasks/{task_id}").status_code == 200
    for name in (task_id, "0" * 32):
        answer = box.client.get(f"/outputs/ltx2_{name}.mp4")
        assert (answer.status_code, "lost" in answer.text) == (404, False)
    assert not [each for each in box.client.get("/health").json()["notices"] if "has lost" in each]
