"""Damaged audio and video, wrong fields and broken forms: 200 or a documented error, and no leftover file."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingress.conftest import Box
from tests.ingress.media import audio_file, frames_of, video_file
from tests.ingress.test_fuzz import DOCUMENTED, FUZZ, MOST_S, broken_forms, damaged_images, kept

ROUTES = {"a2v": "audio", "retake": "video", "extend": "video"}
WHOLE_AUDIO = [
    audio_file(0.6, "wav", "pcm_s16le", 8000, 1),
    audio_file(0.6, "mp3", "libmp3lame", 44_100),
    audio_file(0.6, "ogg", "libopus", 48_000, 1),
    audio_file(0.6, "flac", "flac", 8000),
    audio_file(0.6, "mp4", "aac", 44_100),
]
WHOLE_VIDEO = [
    video_file(frames_of(12, 64, 64), audio_s=0.5),
    video_file(frames_of(12, 64, 64), kind="matroska", audio_s=0.5, audio_codec="flac"),
]
VALUES = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8), st.just([]), st.just({}))


def post(box: Box, route: str, **body: Any) -> int:
    started = time.monotonic()
    answer = box.client.post(f"/v1/video/async_{route}", **body)
    assert time.monotonic() - started < MOST_S
    assert answer.status_code in DOCUMENTED | {404, 409, 410}, answer.text
    if answer.status_code != 200:
        assert answer.json()["error_code"]
    return answer.status_code


def post_file(box: Box, route: str, content: bytes) -> int:
    data = {"prompt": "a lighthouse", "duration": "0.5"} if route == "extend" else {"prompt": "a lighthouse"}
    return post(box, route, data=data, files={ROUTES[route]: ("a", content)})


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files of this process and its children alone: other tests run beside this one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.mark.parametrize(("route", "whole"), [("a2v", WHOLE_AUDIO), ("extend", WHOLE_VIDEO)])
def test_damaged_media_are_taken_or_refused(box, temporary_folder, route, whole):
    seen = [post_file(box, route, each) for each in whole]
    assert seen == [200] * len(whole)

    @settings(FUZZ, max_examples=24)
    @given(damaged_images(whole))
    def try_it(content: bytes) -> None:
        before = kept(box)
        status = post_file(box, route, content)
        assert kept(box) - before == (status == 200)
        seen.append(status)

    try_it()
    assert 422 in seen
    assert not list(temporary_folder.iterdir())


@pytest.mark.parametrize("route", ROUTES)
def test_broken_forms_are_refused(box, route):
    @settings(FUZZ, max_examples=60)
    @given(broken_forms())
    def try_it(content: bytes) -> None:
        content = content.replace(b'"image"', b'"%b"' % ROUTES[route].encode())
        assert post(box, route, content=content, headers={"Content-Type": "multipart/form-data; boundary=edge"}) != 200

    try_it()


@pytest.mark.parametrize("route", ROUTES)
def test_wrong_values_in_json_are_refused(box, route):
    names = ["audio", "video", "source_task", "audio_start", "duration", "audio_strength", "start_time", "mode"]
    names += ["context", "image", "end_image", "image_strength", "width", "num_frames", "frame_rate", "length", "fit"]

    @settings(FUZZ, max_examples=150)
    @given(st.dictionaries(st.sampled_from(names), VALUES, max_size=6))
    def try_it(fields: dict[str, Any]) -> None:
        body = json.dumps({"prompt": "a lighthouse", **fields})
        assert post(box, route, content=body, headers={"Content-Type": "application/json"}) != 200

    try_it()


@pytest.mark.parametrize("route", ROUTES)
def test_files_in_the_place_of_fields_are_refused(box, route):
    whole = audio_file(0.6) if route == "a2v" else WHOLE_VIDEO[0]
    for field in ("duration", "mode", "start_time", "audio_start", "audio_strength", "source_task", "width", "context"):
        post(box, route, data={"prompt": "x"}, files={ROUTES[route]: ("a", whole), field: ("b", b"1")})
        post(box, route, data={"prompt": "x"}, files={field: ("b", b"1")})
