"""An upload url takes as many bytes as a file of its kind may have: by the ticket, or by how the file begins."""

from collections.abc import Iterator

import pytest

from deployments.ingress.uploads.kinds import UploadKind, find_kinds
from deployments.ingress.uploads.tickets import TICKET_SIGNING, UploadTicket, new_ticket, read_ticket
from models.request.request import RequestLimits
from tests.ingress.conftest import Box, image_file
from tests.ingress.media import audio_file, frames_of, video_file

LIMITS = {"max_image_bytes": 1000, "max_audio_bytes": 5000, "max_video_bytes": 9000}
IMAGE, AUDIO, VIDEO = UploadKind
SECRET = b"a secret"


@pytest.fixture
def box(open_box) -> Box:
    return open_box(limits=LIMITS)


def url_for(box: Box, kind: UploadKind | None) -> str:
    return f"/uploads/{new_ticket('', kind).encode(box.tasks.shared_secret(TICKET_SIGNING))}"


def padded(start: bytes, size_bytes: int) -> bytes:
    return start[: min(64, size_bytes)].ljust(size_bytes, b"\0")


@pytest.mark.parametrize(
    ("start", "kinds"),
    [
        (image_file(), [IMAGE]),
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", [IMAGE]),
        (audio_file(0.1), [AUDIO]),
        (audio_file(0.1, "flac", "flac"), [AUDIO]),
        (audio_file(0.1, "ogg", "libopus"), [AUDIO]),
        (audio_file(0.1, "mp3", "libmp3lame"), [AUDIO]),
        (audio_file(0.1, "adts", "aac"), [AUDIO]),
        (audio_file(0.1, "ipod", "aac"), [AUDIO]),
        (audio_file(0.1, "mp4", "aac"), [AUDIO, VIDEO]),
        (video_file(frames_of(2)), [AUDIO, VIDEO]),
        (video_file(frames_of(2), kind="mov"), [AUDIO, VIDEO]),
        (video_file(frames_of(2), kind="matroska"), [AUDIO, VIDEO]),
        (b"something else", [IMAGE, AUDIO, VIDEO]),
        (b"", [IMAGE, AUDIO, VIDEO]),
    ],
)
def test_the_first_bytes_tell_the_kind(start: bytes, kinds: list[UploadKind]) -> None:
    assert find_kinds(start) == tuple(kinds)


@pytest.mark.parametrize(
    ("kind", "start", "most", "of"),
    [
        (None, image_file(), 1000, "image"),
        (None, audio_file(0.1), 5000, "audio"),
        (None, video_file(frames_of(2)), 9000, "image or audio or video"),
        (None, b"x", 9000, "image or audio or video"),
        (IMAGE, video_file(frames_of(2)), 1000, "image"),
        (AUDIO, video_file(frames_of(2)), 5000, "audio"),
        (VIDEO, image_file(), 9000, "video"),
    ],
)
def test_a_file_has_the_bound_of_its_kind(box: Box, kind: UploadKind | None, start: bytes, most: int, of: str) -> None:
    refused = box.client.put(url_for(box, kind), content=padded(start, most + 1))
    assert (refused.status_code, refused.json()["error_code"]) == (413, "too_large")
    assert refused.json()["error"] == f"body must be at most {most} bytes for {of} files; {most + 1} bytes was given"
    assert box.client.put(url_for(box, kind), content=padded(start, most)).status_code == 200


@pytest.mark.parametrize(
    ("named", "start", "most"),
    [
        ("audio/mp4", video_file(frames_of(2)), 5000),
        ("Video/WebM; codecs=vp9", b"x", 9000),
        ("image/x-of-a-camera", b"x", 1000),
        ("image/png", audio_file(0.1), 5000),
        ("application/octet-stream", b"x", 9000),
    ],
)
def test_the_content_type_decides_where_the_first_bytes_do_not(box: Box, named: str, start: bytes, most: int) -> None:
    headers = {"Content-Type": named}
    refused = box.client.put(url_for(box, None), content=padded(start, most + 1), headers=headers)
    assert (refused.status_code, f"at most {most} bytes" in refused.json()["error"]) == (413, True), refused.text
    assert box.client.put(url_for(box, None), content=padded(start, most), headers=headers).status_code == 200


def test_a_body_without_a_length_has_the_bound_of_its_kind_too(box: Box) -> None:
    def chunks() -> Iterator[bytes]:
        yield padded(image_file(), 500)
        yield bytes(501)

    refused = box.client.put(url_for(box, None), content=chunks())
    assert refused.status_code == 413
    assert refused.json()["error"] == "body must be at most 1000 bytes for image files; more than that was given"


def test_a_ticket_keeps_its_kind_and_one_of_an_earlier_version_is_valid() -> None:
    for kind in (None, *UploadKind):
        for owner in ("", "alice", "image_"):
            ticket = new_ticket(owner, kind)
            assert read_ticket(ticket.encode(SECRET), SECRET) == ticket
    ticket = new_ticket("alice", IMAGE)
    assert read_ticket(ticket.encode(SECRET).replace("_image_", "_video_"), SECRET) is None
    assert read_ticket(ticket.encode(SECRET).replace("_image_", "_"), SECRET) is None
    earlier = "up_" + "0" * 32 + "_1790000000_XoU0gOcTm-V8lYtVaKo68gBi8DMWKmkHaDvf1MCUiLo_alice"
    assert earlier == UploadTicket("0" * 32, "alice", 1790000000).encode(SECRET)


def test_each_kind_has_a_bound() -> None:
    limits = RequestLimits(max_image_bytes=1, max_audio_bytes=2, max_video_bytes=3)
    assert [kind.max_bytes(limits) for kind in UploadKind] == [1, 2, 3]
