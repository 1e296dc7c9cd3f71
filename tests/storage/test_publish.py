"""A file is published completely, or the caller gets an error, whatever the store answers to a write."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

import storage.outputs.s3
from models.errors import StoreUnavailable
from storage.outputs.s3 import S3OutputStore
from storage.outputs.s3_options import MIB, S3Options
from storage.outputs.store import OutputStore, staging_key
from tests.s3 import REGION, Front, front_of, give_credentials, new_bucket
from tests.s3_habits import HOPELESS, LAG_S, PUBLISHING, put_instead
from tests.storage.conftest import OUTPUT_STORES

KEY = "outputs/ltx2_x.mp4"
FIRST, SECOND = b"attempt 1", b"attempt 2, longer"


@pytest.fixture(scope="module")
def shared(s3_endpoint: str) -> Iterator[tuple[Front, S3OutputStore]]:
    """A proxy and a store behind it. They are shared, because opening a store takes longer than a test."""
    with pytest.MonkeyPatch.context() as patch, front_of(s3_endpoint) as front:
        give_credentials(patch)
        patch.setattr(storage.outputs.s3, "LOOK_DELAYS_S", (0.0, 0.05, LAG_S))
        options = S3Options(endpoint_url=front.url, region=REGION, read_timeout_s=2.0, max_attempts=1)
        yield front, S3OutputStore(new_bucket(s3_endpoint), "videos", options)


@pytest.fixture
def front(shared: tuple[Front, S3OutputStore]) -> Front:
    return shared[0]


@pytest.fixture
def s3(shared: tuple[Front, S3OutputStore], monkeypatch) -> S3OutputStore:
    """The shared store with an empty bucket, reset as if its server were unknown."""
    front, store = shared
    front.fault = lambda _request: False
    for each in store.list("outputs/", "", 100):
        store.delete(each.key)
    monkeypatch.setattr(store, "_knows_conditions", True)
    return store


@pytest.fixture(params=[*OUTPUT_STORES, *PUBLISHING])
def outputs(request, tmp_path) -> OutputStore:
    """A folder, a bucket, and buckets on servers with special behavior."""
    if request.param in OUTPUT_STORES:
        return OUTPUT_STORES[request.param](tmp_path, request)
    store = request.getfixturevalue("s3")
    request.getfixturevalue("front").fault = PUBLISHING[request.param]()
    return store


def read(outputs: OutputStore, key: str = KEY) -> bytes:
    return b"".join(outputs.open(key))


def test_a_published_file_is_there_and_whole_and_the_staged_one_is_gone(outputs):
    outputs.put(staging_key(KEY, 1), FIRST)
    assert outputs.publish(staging_key(KEY, 1), KEY).size_bytes == len(FIRST)
    assert read(outputs) == FIRST
    assert [each.key for each in outputs.list("outputs/", "", 10)] == [KEY]
    second = "outputs/ltx2_y.mp4"
    outputs.put(staging_key(second, 1), SECOND)
    assert outputs.publish(staging_key(second, 1), second).size_bytes == len(SECOND)
    assert read(outputs, second) == SECOND


@pytest.mark.parametrize("second", [FIRST[::-1], SECOND], ids=["same size", "another size"])
def test_a_file_of_the_same_size_stays_and_one_of_another_is_replaced(outputs, second):
    for claim, content in enumerate((FIRST, second), start=1):
        outputs.put(staging_key(KEY, claim), content)
        assert outputs.publish(staging_key(KEY, claim), KEY).size_bytes == len(content)
    assert read(outputs) == (FIRST if len(second) == len(FIRST) else second)
    assert [each.key for each in outputs.list("outputs/", "", 10)] == [KEY]


@pytest.mark.parametrize("habit", HOPELESS)
def test_what_cannot_be_published_is_an_error_and_keeps_its_staged_file(s3, front, habit):
    s3.put(staging_key(KEY, 1), FIRST)
    front.fault = HOPELESS[habit]()
    with pytest.raises(StoreUnavailable, match=r"the output store (refused CopyObject|accepted a copy)"):
        s3.publish(staging_key(KEY, 1), KEY)
    assert read(s3, staging_key(KEY, 1)) == FIRST
    assert s3.stat(KEY) is None


@pytest.mark.parametrize("habit", ["412 for the source", "501", "400"])
def test_a_server_without_the_condition_is_asked_for_it_once(s3, front, habit):
    asked = []
    fault = PUBLISHING[habit]()
    front.fault = lambda request: (request.copies and asked.append(request.conditional)) or fault(request)
    for name in "abc":
        key = f"outputs/ltx2_{name}.mp4"
        s3.put(staging_key(key, 1), FIRST)
        s3.publish(staging_key(key, 1), key)
    assert asked == [True, False, False, False]


def test_two_that_publish_at_once_leave_the_first_file(s3, front):
    """Both have checked and found no file; the server obeys the condition and refuses the second copy."""
    published = []

    def refuse(request) -> bool:
        before = request.command == "HEAD" and ".part" not in request.path and not published
        return (before and request.refuse(404, "NoSuchKey")) or (
            request.copies and (published.append(True) or request.refuse(412, "PreconditionFailed"))
        )

    s3.put(KEY, FIRST)
    s3.put(staging_key(KEY, 2), FIRST[::-1])
    front.fault = refuse
    s3.publish(staging_key(KEY, 2), KEY)
    assert read(s3) == FIRST


def test_a_staged_file_that_cannot_be_removed_is_no_failure(s3, front):
    """Retention finds it later; the file itself is published."""
    s3.put(staging_key(KEY, 1), FIRST)
    front.fault = lambda request: request.command == "DELETE" and request.refuse(503, "SlowDown")
    s3.publish(staging_key(KEY, 1), KEY)
    assert read(s3) == FIRST


# -- uploads

LIES = {
    "takes it and keeps nothing": lambda request: request.answer(200, [("Content-Length", "0")], b""),
    "keeps half of it": lambda request: (
        put_instead(request, b"half") or request.answer(200, [("Content-Length", "0")], b"")
    ),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("as_file", [False, True])
def test_an_upload_that_is_not_there_afterwards_is_an_error(s3, front, tmp_path, lie, as_file):
    front.fault = lambda request: request.command == "PUT" and LIES[lie](request)
    (tmp_path / "video.mp4").write_bytes(FIRST)
    with pytest.raises(StoreUnavailable, match=r"accepted outputs/ltx2_x\.mp4 but does not show it with its 9 bytes"):
        s3.put(KEY, tmp_path / "video.mp4" if as_file else FIRST)


def test_parts_that_never_become_a_file_are_an_error(front, s3_endpoint, tmp_path, monkeypatch):
    give_credentials(monkeypatch)
    options = S3Options(endpoint_url=front.url, region=REGION, multipart_threshold_bytes=5 * MIB, part_bytes=5 * MIB)
    store = S3OutputStore(new_bucket(s3_endpoint), "", options)
    (tmp_path / "video.mp4").write_bytes(bytes(6 * MIB))
    made = b"<CompleteMultipartUploadResult><ETag>&quot;0-2&quot;</ETag></CompleteMultipartUploadResult>"
    front.fault = lambda request: (
        "uploads" not in request.path
        and request.command == "POST"
        and request.answer(200, [("Content-Length", str(len(made)))], made)
    )
    with pytest.raises(StoreUnavailable, match="does not show it with its 6291456 bytes"):
        store.put(KEY, tmp_path / "video.mp4")


def test_a_size_that_is_not_told_is_no_size(s3, front):
    s3.put(KEY, FIRST)
    front.fault = lambda request: request.command == "HEAD" and request.answer(200, [("Connection", "close")], b"")
    with pytest.raises(StoreUnavailable, match="does not return the size"):
        s3.stat(KEY)


def test_a_listed_file_without_a_time_is_new(s3, front):
    """Old files that are not needed are removed."""
    s3.put(KEY, FIRST)

    def drop_times(request) -> bool:
        status, headers, content = request.ask()
        before, _, rest = content.partition(b"<LastModified>")
        content = before + rest.partition(b"</LastModified>")[2]
        kept = [each for each in headers if each[0].lower() != "content-length"]
        return request.answer(status, [*kept, ("Content-Length", str(len(content)))], content)

    front.fault = drop_times
    (listed,) = s3.list("outputs/", "", 10)
    assert listed.modified_at == pytest.approx(time.time(), abs=60)


# -- the folder

AS_NOBODY = """
    import os, sys
    from pathlib import Path
    from storage.outputs.local import LocalOutputStore
    os.setgid(65534); os.setuid(65534)
    LocalOutputStore(Path(sys.argv[1])).publish("outputs/a.1.part", "outputs/a")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_folder_without_hard_links_gives_the_file_its_name_by_renaming(tmp_path):
    """The kernel refuses every user a link to root's file, like file systems without links."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "a.1.part").write_bytes(FIRST)
    (folder / "a.1.part").chmod(0o600)
    for each in (folder, *[up for up in folder.parents if up.stat().st_mode & 0o005 != 0o005]):
        each.chmod(0o777)
    subprocess.run([sys.executable, "-c", textwrap.dedent(AS_NOBODY), tmp_path], timeout=60, check=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a": FIRST}
