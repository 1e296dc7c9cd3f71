"""With api_keys, the url of a finished file opens without a key, for a limited time, and only that file."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from deployments.signed_urls import Signer
from tests.ingress.conftest import POSTER, VIDEO, Box
from tests.ingress.keys import ALICE, KEYS, bearer, speaking_as


@pytest.fixture
def box(open_box) -> Box:
    return open_box(api_keys=KEYS)


def completed(box: Box) -> dict[str, object]:
    """The poll body of a finished task of Alice."""
    with speaking_as(box, ALICE):
        return box.poll(box.finished())


def test_the_urls_of_a_task_open_without_a_key(box):
    body = completed(box)
    assert box.client.get(body["url"]).content == VIDEO
    assert box.client.get(body["poster_url"]).content == POSTER
    assert box.client.head(body["url"]).headers["content-length"] == str(len(VIDEO))
    part = box.client.get(body["url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, VIDEO[10:20])


def test_the_owner_needs_no_signature(box):
    path = urlsplit(str(completed(box)["url"])).path
    assert box.client.get(path, headers=bearer(ALICE)).content == VIDEO


def test_without_key_and_signature_a_file_is_closed(box):
    answer = box.client.get(urlsplit(str(completed(box)["url"])).path)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "unauthorized")
    assert "www-authenticate" in answer.headers


def altered(url: str) -> dict[str, str]:
    """Modified urls, by the kind of modification."""
    parts = urlsplit(url)
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    expires, signature = asked["expires"], asked["signature"]
    base = url.partition("?")[0]
    return {
        "later": f"{base}?expires={int(expires) + 1}&signature={signature}",
        "no signature": f"{base}?expires={expires}",
        "empty signature": f"{base}?expires={expires}&signature=",
        "no expiry": f"{base}?signature={signature}",
        "another signature": f"{base}?expires={expires}&signature={'A' * 43}",
        "not ASCII": f"{base}?expires={expires}&signature=%C3%A9",
        "other digits": f"{base}?expires=%D9%A1&signature={signature}",
        "another file": f"{base.replace('.mp4', '.jpg')}?expires={expires}&signature={signature}",
        "another task": f"{base[:-5]}{'0' if base[-5] != '0' else '1'}.mp4?expires={expires}&signature={signature}",
    }


def test_a_url_that_was_changed_is_refused(box):
    for what, url in altered(str(completed(box)["url"])).items():
        answer = box.client.get(url)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "forbidden"), what
        assert "task's `url`" in answer.json()["error"]


def test_a_url_that_has_expired_is_refused_with_what_to_do(box):
    url = str(completed(box)["url"]).partition("?")[0]
    signer = Signer(box.tasks.shared_secret("urls"), 3600)
    past = int(time.time()) - 1
    key = urlsplit(url).path.removeprefix("/")
    answer = box.client.get(f"{url}?expires={past}&signature={signer.sign(key, past)}")
    assert answer.status_code == 403
    assert "expired" in answer.json()["error"]
    assert "poll" in answer.json()["error"]


def test_polls_in_a_row_give_the_same_url_that_lasts_as_the_settings_say():
    signer = Signer(b"secret", 3600)
    left_s = signer.expiry() - time.time()
    assert 3600 * 3 / 4 - 1 < left_s <= 3600
    assert signer.expiry() % 900 == 0


def test_a_poll_says_until_when_the_url_is_good(box):
    body = completed(box)
    assert str(int(body["url_expires_at"])) == parse_qs(urlsplit(str(body["url"])).query)["expires"][0]


def test_every_replica_and_every_restart_has_the_same_secret(box):
    assert box.tasks.shared_secret("urls") == box.tasks.shared_secret("urls")
    assert box.tasks.shared_secret("urls") != box.tasks.shared_secret("others")
    assert len(box.tasks.shared_secret("urls")) == 32


def test_without_keys_urls_are_plain(open_box):
    box = open_box()
    body = box.poll(box.finished())
    assert str(body["url"]).endswith(".mp4")
    assert "url_expires_at" not in body
