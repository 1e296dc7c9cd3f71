"""The S3 store with a server that refuses, is silent, is unavailable, or is older than the store expects."""

import socket
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from models.errors import StoreUnavailable
from storage.outputs.open_store import open_output_store
from storage.outputs.s3 import S3OutputStore
from storage.outputs.s3_options import MIB, S3Options
from storage.outputs.store import staging_key
from tests.s3 import REGION, client_of, front_of, give_credentials, new_bucket

KEY = "outputs/ltx2_x.mp4"
VIDEO = bytes(range(256)) * 40
USES = {
    "stat": lambda store: store.stat(KEY),
    "open": lambda store: store.open(KEY),
    "put": lambda store: store.put(KEY, VIDEO),
    "publish": lambda store: store.publish(staging_key(KEY, 1), KEY),
    "delete": lambda store: store.delete(KEY),
    "list": lambda store: store.list("outputs/", "", 10),
    "check": lambda store: store.check_health(),
}
PARTS = {"multipart_threshold_bytes": 5 * MIB, "part_bytes": 5 * MIB}
PATIENT = {"read_timeout_s": 30}
"""For tests in which nothing hangs: a busy machine may need a second for a response."""

EVERY_USE = pytest.mark.parametrize("use", USES.values(), ids=USES)


@pytest.fixture
def front(s3_endpoint):
    with front_of(s3_endpoint) as front:
        yield front


@pytest.fixture
def bucket(s3_endpoint, monkeypatch) -> str:
    give_credentials(monkeypatch)
    return new_bucket(s3_endpoint)


@pytest.fixture
def store(front, bucket) -> S3OutputStore:
    """A store behind the proxy, with short timeouts."""
    return S3OutputStore(bucket, "videos", options(front.url))


def options(endpoint: str, **values) -> S3Options:
    return S3Options(endpoint_url=endpoint, region=REGION, **{"read_timeout_s": 0.5, "max_attempts": 2, **values})


def names(endpoint: str, bucket: str) -> list[str]:
    client = client_of(endpoint)
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    client.close()
    return [each["Key"] for each in found]


# -- refusals


@EVERY_USE
def test_credentials_that_may_not_are_named_with_the_request(store, front, use):
    front.fault = lambda request: request.refuse(403, "AccessDenied")
    with pytest.raises(StoreUnavailable, match=r"the output store refused \w+: (AccessDenied told to|403)"):
        use(store)


def test_a_bucket_that_is_not_there_is_named(front, bucket):
    store = S3OutputStore(f"no-{bucket}", "", options(front.url))
    for use in ("put", "check", "open"):
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            USES[use](store)


def test_missing_credentials_are_said(front, bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match="credentials"):
        S3OutputStore(bucket, "", options(front.url)).put(KEY, VIDEO)
    assert front.seen == []


# -- a server that is unavailable, silent or busy


@EVERY_USE
def test_a_refused_connection_is_unavailable(bucket, use):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so no other process can answer there
        store = S3OutputStore(bucket, "", options(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(StoreUnavailable, match="did not answer"):
            use(store)


@EVERY_USE
def test_a_server_that_says_nothing_is_given_up(store, front, use):
    front.fault = lambda request: request.say_nothing()
    with pytest.raises(StoreUnavailable, match=r"did not answer: .*timed? ?out"):
        use(store)
    assert len(front.seen) in (1, 2)


def test_a_busy_server_is_asked_again(front, bucket):
    store = S3OutputStore(bucket, "", options(front.url, max_attempts=3, **PATIENT))
    front.fault = lambda request: len(front.seen) < 3 and request.refuse(503, "SlowDown")
    store.put(KEY, VIDEO)
    front.fault = lambda _request: False
    assert front.seen == ["PUT"] * 3 + ["HEAD"]
    assert b"".join(store.open(KEY)) == VIDEO


def test_a_server_that_stays_busy_is_unavailable_after_its_tries(store, front):
    front.fault = lambda request: request.refuse(503, "SlowDown")
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.put(KEY, VIDEO)
    assert front.seen == ["PUT"] * 2


def test_a_download_that_breaks_off_is_an_error_and_no_short_file(store, front):
    front.fault = lambda request: request.break_off(VIDEO)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        list(store.open(KEY))


# -- uploads


def test_a_large_file_goes_up_in_parts(front, bucket, tmp_path):
    store = S3OutputStore(bucket, "", options(front.url, **PARTS, **PATIENT))
    content = VIDEO * (12 * MIB // len(VIDEO))
    (tmp_path / "video.mp4").write_bytes(content)
    store.put(KEY, tmp_path / "video.mp4")
    assert store.stat(KEY).etag.endswith("-3")
    assert b"".join(store.open(KEY)) == content


def test_an_upload_that_fails_half_way_leaves_nothing(front, bucket, tmp_path, s3_endpoint):
    store = S3OutputStore(bucket, "", options(front.url, **PARTS))
    (tmp_path / "video.mp4").write_bytes(bytes(12 * MIB))
    front.fault = lambda request: "partNumber=2" in request.path and request.refuse(503, "SlowDown")
    with pytest.raises(StoreUnavailable):
        store.put(KEY, tmp_path / "video.mp4")
    client = client_of(s3_endpoint)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    client.close()
    assert names(s3_endpoint, bucket) == []


def test_a_file_that_cannot_be_read_is_an_error(store, tmp_path):
    with pytest.raises(StoreUnavailable, match="could not read the file"):
        store.put(KEY, tmp_path / "no such file")


# -- the check


def test_a_check_costs_three_requests_however_often_it_is_asked_and_leaves_nothing(store, front, bucket, s3_endpoint):
    for _ in range(50):
        store.check_health()
    assert front.seen == ["PUT", "GET", "DELETE"]
    assert names(s3_endpoint, bucket) == []


def test_a_check_names_a_policy_that_forgets_to_let_the_bucket_be_listed(store, front):
    front.fault = lambda request: "list-type" in request.path and request.refuse(403, "AccessDenied")
    with pytest.raises(StoreUnavailable, match="refused ListObjectsV2: AccessDenied"):
        store.check_health()


def test_a_failed_check_stays_failed_for_those_who_ask_at_once(store, front):
    front.fault = lambda request: request.say_nothing()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            store.check_health()
    assert front.seen == ["PUT"]


# -- urls


def test_a_signed_url_gives_the_file_to_anyone(store):
    store.put(KEY, VIDEO)
    url = store.presign_url(KEY, 600, "sunset.mp4")
    asked = parse_qs(urlsplit(url).query)
    assert (asked["X-Amz-Algorithm"], asked["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["600"])
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, VIDEO)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'inline; filename="sunset.mp4"'
    part = httpx.get(url, headers={"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, VIDEO[5:10])


@pytest.mark.parametrize(
    ("style", "begin"),
    [("path", "https://s3.example.org/bucket/of/ours/"), ("virtual", "https://bucket.s3.example.org/of/ours/")],
)
def test_the_bucket_stands_where_the_style_says(monkeypatch, style, begin):
    give_credentials(monkeypatch)
    store = open_output_store("s3://bucket/of/ours", options("https://s3.example.org", addressing_style=style))
    assert store.presign_url(KEY, 60, "x.mp4").startswith(begin + KEY)


def test_a_signed_url_names_the_server_as_clients_reach_it(monkeypatch):
    give_credentials(monkeypatch)
    inner = options("http://inside:9000", public_endpoint_url="https://files.example.org", addressing_style="path")
    assert (
        S3OutputStore("bucket", "", inner)
        .presign_url(KEY, 60, "x.mp4")
        .startswith(f"https://files.example.org/bucket/{KEY}")
    )
