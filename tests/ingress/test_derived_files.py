"""Files that are made from a finished video: right, made once, kept beside it, and gone with it."""

import io
import os
import threading
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image, ImageSequence

from deployments.encoder.mp4 import write_mp4
from deployments.encoder.poster import representative_frame, write_poster
from deployments.ingress import context
from deployments.ingress.derived import maker
from deployments.ingress.derived.child_process import CHILD
from deployments.ingress.derived.contents import COLUMNS, ROWS, fit_within
from deployments.observability.metrics.definitions import DERIVED_FILE_DURATION_SECONDS
from models.clip import Clip
from storage.outputs.s3 import S3OutputStore
from storage.outputs.s3_options import S3Options
from storage.outputs.store import DerivedFile, derived_key, output_key, poster_key
from storage.tasks import Output
from tests.ingress.conftest import Box
from tests.ingress.keys import ALICE, BOB, KEYS, bearer, speaking_as
from tests.ingress.test_media_reader import readers
from tests.metrics.recorded import RecordedMetrics
from tests.s3 import REGION, give_credentials, new_bucket, s3_server

NUM_FRAMES, HEIGHT, WIDTH, RATE = 50, 256, 384, 25
MEDIA_TYPES = {
    DerivedFile.AUDIO: "audio/wav",
    DerivedFile.LAST_FRAME: "image/png",
    DerivedFile.THUMBNAIL: "image/jpeg",
    DerivedFile.SPRITESHEET: "image/jpeg",
    DerivedFile.WEBM: "video/webm",
    DerivedFile.MOV: "video/quicktime",
    DerivedFile.GIF: "image/gif",
}

NAMES = {"audio", "last_frame", "thumbnail", "spritesheet", "webm", "mov", "gif"}


def shade(index: int) -> tuple[int, int, int]:
    """The color of a frame: every frame has its own."""
    return 40 + 4 * index, 120, 230 - 4 * index


FRAMES = np.stack([np.full((HEIGHT, WIDTH, 3), shade(index), np.uint8) for index in range(NUM_FRAMES)])
TIME_S = np.arange(NUM_FRAMES * 24_000 // RATE) / 24_000
TONE = np.tile(0.5 * np.sin(2 * np.pi * 440 * TIME_S), (2, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """An MP4 with audio, one without, and the poster."""
    folder: Path = tmp_path_factory.mktemp("clip")
    for name, audio in (("audio", TONE), ("silent", None)):
        clip = Clip(FRAMES, audio, 24_000, Fraction(RATE))
        write_mp4(clip, folder / name, max_bytes=None, metadata={})
    write_poster(representative_frame(FRAMES), folder / "poster")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


Complete = Callable[..., str]


@pytest.fixture
def complete(files: dict[str, bytes]) -> Complete:
    """A function that completes a task with the real files, as an Encoder does. Returns the id of the task."""

    def complete_it(box: Box, name: str = "audio", **fields: Any) -> str:
        task_id = box.submit(**fields)
        task = box.start()
        box.outputs.put(output_key(task_id), files[name])
        box.outputs.put(poster_key(task_id), files["poster"])
        assert box.tasks.complete(task, Output(output_key(task_id), poster_key(task_id), 2.0, len(files[name])))
        return task_id

    return complete_it


def path_of(task_id: str, kind: DerivedFile) -> str:
    return f"/outputs/ltx2_{task_id}.{kind}"


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def near(color: Any, expected: Any) -> bool:
    return bool(np.abs(np.subtract(color, expected)).max() <= 4)


def test_the_audio_is_a_wav_exactly_as_long_as_the_video(box, complete):
    answer = box.client.get(path_of(complete(box), DerivedFile.AUDIO))
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 48_000)
        assert file.getnframes() == NUM_FRAMES * 48_000 // RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)[:, 0] / 32768
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 48_000)
    assert np.abs(samples - expected)[2000:-2000].mean() < 0.005  # also starts at the same sample


def test_the_last_frame_is_a_png_of_the_last_frame(box, complete):
    answer = box.client.get(path_of(complete(box), DerivedFile.LAST_FRAME))
    frame = image(answer.content)
    assert frame.size == (WIDTH, HEIGHT)
    assert near(np.asarray(frame).reshape(-1, 3).mean(0), shade(NUM_FRAMES - 1))
    assert not near(shade(NUM_FRAMES - 1), shade(NUM_FRAMES - 3))


def test_the_spritesheet_shows_the_video_from_first_to_last_row_by_row(box, complete):
    sheet = image(box.client.get(path_of(complete(box), DerivedFile.SPRITESHEET)).content)
    width, height = fit_within(240, WIDTH, HEIGHT)
    assert sheet.size == (COLUMNS * width, ROWS * height)
    shown = [
        sheet.getpixel((column * width + width // 2, row * height + height // 2))
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    assert near(shown[0], shade(0))
    assert near(shown[-1], shade(NUM_FRAMES - 1))
    red = [color[0] for color in shown]
    assert red == sorted(red)
    assert len(set(red)) > 20


def test_the_thumbnail_is_the_poster_made_small(box, complete):
    thumbnail = image(box.client.get(path_of(complete(box), DerivedFile.THUMBNAIL)).content)
    assert max(thumbnail.size) == 320
    assert thumbnail.size[0] / thumbnail.size[1] == pytest.approx(WIDTH / HEIGHT, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "codecs"), [(DerivedFile.WEBM, {"vp9", "opus"}), (DerivedFile.MOV, {"prores", "pcm_s16le"})]
)
def test_another_format_has_the_same_frames_and_the_same_audio(box, complete, kind, codecs):
    content = box.client.get(path_of(complete(box), kind)).content
    with av.open(io.BytesIO(content)) as file:
        assert {stream.codec_context.name for stream in file.streams} == codecs
        frames = list(file.decode(video=0))
        assert [frame.time for frame in frames] == pytest.approx([n / RATE for n in range(NUM_FRAMES)], abs=0.001)
        shown = [frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0) for frame in frames]
    expected = [shade(index) for index in range(NUM_FRAMES)]
    assert np.abs(np.subtract(shown, expected)).max() < 6  # swscale rounds 10 bits down
    with av.open(io.BytesIO(content)) as file:
        samples = np.concatenate([_first_channel(frame) for frame in file.decode(audio=0)])
    tone = np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 48_000)
    assert len(samples) == pytest.approx(NUM_FRAMES * 48_000 // RATE, abs=960)  # Opus has whole packets of 20 ms
    assert np.corrcoef(samples[2000:-2000], tone[2000:-2000])[0, 1] > 0.99


def _first_channel(frame: Any) -> np.ndarray:
    samples = frame.to_ndarray().astype(np.float64)
    return samples[0] if frame.format.is_planar else samples.reshape(-1, 2)[:, 0]


@pytest.mark.parametrize("kind", [DerivedFile.WEBM, DerivedFile.MOV])
def test_another_format_of_a_video_without_audio_has_no_audio(box, complete, kind):
    content = box.client.get(path_of(complete(box, "silent", generate_audio=False), kind)).content
    with av.open(io.BytesIO(content)) as file:
        assert [stream.type for stream in file.streams] == ["video"]
        assert sum(1 for _ in file.decode(video=0)) == NUM_FRAMES


def test_the_gif_repeats_and_shows_every_second_frame(box, complete):
    gif = Image.open(io.BytesIO(box.client.get(path_of(complete(box), DerivedFile.GIF)).content))
    assert (gif.size, gif.n_frames, gif.info["loop"]) == ((WIDTH, HEIGHT), NUM_FRAMES // 2, 0)
    for index, frame in enumerate(ImageSequence.Iterator(gif)):
        assert frame.info["duration"] == 80
        assert near(np.asarray(frame.convert("RGB")).reshape(-1, 3).mean(0), shade(2 * index))


@pytest.mark.parametrize("kind", DerivedFile)
def test_a_derived_file_is_served_as_the_video_is(box, complete, kind):
    path = path_of(complete(box), kind)
    head = box.client.head(path)
    whole = box.client.get(path)
    assert (head.status_code, head.content, whole.status_code) == (200, b"", 200)
    assert whole.headers["content-type"] == MEDIA_TYPES[kind]
    for name in ("content-type", "content-length", "etag", "last-modified", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    assert whole.headers["content-disposition"] == f'inline; filename="{path.rpartition("/")[2]}"'
    part = box.client.get(path, headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, whole.content[5:15])
    assert box.client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_a_poll_names_the_files_and_the_urls_open(box, complete):
    downloads = box.poll(complete(box))["downloads"]
    assert set(downloads) == NAMES
    for url in downloads.values():
        assert box.client.get(url).status_code == 200


def test_before_the_end_there_is_no_file_and_no_url(box):
    task_id = box.submit()
    assert "downloads" not in box.poll(task_id)
    for kind in DerivedFile:
        answer = box.client.get(path_of(task_id, kind))
        assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")
        assert "not completed" in answer.json()["error"]


def test_a_video_without_audio_has_no_audio_file_and_says_so(box, complete):
    task_id = complete(box, "silent", generate_audio=False)
    assert set(box.poll(task_id)["downloads"]) == NAMES - {"audio"}
    answer = box.client.get(path_of(task_id, DerivedFile.AUDIO))
    assert (answer.status_code, "generate_audio false" in answer.json()["error"]) == (404, True)
    assert box.client.get(path_of(task_id, DerivedFile.SPRITESHEET)).status_code == 200


OTHER_NAMES = ["audio.wav.1.part", "audio.mp3", "last_frame.jpg", "thumbnail.jpg.jpg", "", "AUDIO.WAV"]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_no_other_name_is_served(box, complete, name):
    answer = box.client.get(f"/outputs/ltx2_{complete(box)}.{name}")
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no such file")


class Watched:
    """Counts how many files are made at once. Makes them as the server does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._make = maker.write_in_child
        self._lock = threading.Lock()
        self.made: list[DerivedFile] = []
        self.most = self._now = 0
        self.meanwhile: Callable[[], None] = lambda: None
        monkeypatch.setattr(maker, "write_in_child", self)

    def __call__(self, kind: DerivedFile, source: Path, target: Path) -> bool:
        with self._lock:
            self.made.append(kind)
            self._now += 1
            self.most = max(self.most, self._now)
        self.meanwhile()
        try:
            return self._make(kind, source, target)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_a_file_is_made_once_for_all_who_ask_and_one_at_a_time_for_a_task(served_box, complete, watched):
    metrics = RecordedMetrics()
    box = served_box(metrics=metrics)
    task_id = complete(box)
    kinds = [DerivedFile.THUMBNAIL, DerivedFile.SPRITESHEET] * 4
    with ThreadPoolExecutor(len(kinds)) as clients:
        answers = list(clients.map(lambda kind: box.client.get(path_of(task_id, kind)), kinds))
    assert [answer.status_code for answer in answers] == [200] * len(kinds)
    assert len({answer.content for answer in answers}) == 2
    assert (sorted(watched.made), watched.most) == (sorted(set(kinds)), 1)
    box.outputs.delete(output_key(task_id))
    assert box.client.get(path_of(task_id, DerivedFile.SPRITESHEET)).content in {each.content for each in answers}
    assert len(metrics.seen(DERIVED_FILE_DURATION_SECONDS, file="spritesheet.jpg")) == 1


def test_only_so_many_files_are_made_or_wait_at_once(served_box, complete, watched, monkeypatch):
    monkeypatch.setattr(context, "MAX_DERIVED_FILES", 1)
    box = served_box()
    first, second = complete(box), complete(box)
    begun, go_on = threading.Event(), threading.Event()
    watched.meanwhile = lambda: (begun.set(), go_on.wait(30))
    with ThreadPoolExecutor() as clients:
        slow = clients.submit(box.client.get, path_of(first, DerivedFile.THUMBNAIL))
        assert begun.wait(30)
        refused = box.client.get(path_of(second, DerivedFile.THUMBNAIL))
        go_on.set()
        assert slow.result().status_code == 200
    assert (refused.status_code, refused.json()["retryable"]) == (429, True)
    assert box.client.get(path_of(second, DerivedFile.THUMBNAIL)).status_code == 200


def test_a_full_store_keeps_its_room_for_videos(open_box, complete, monkeypatch):
    box = open_box(outputs={"min_free_bytes": 1})
    task_id = complete(box)
    monkeypatch.setattr(type(box.outputs), "free_bytes", lambda _store: 0)
    assert box.client.get(path_of(task_id, DerivedFile.LAST_FRAME)).status_code == 507
    thumbnail = box.client.get(path_of(task_id, DerivedFile.THUMBNAIL))
    assert thumbnail.content == box.client.get(f"/outputs/ltx2_{task_id}.jpg").content


def test_polls_are_answered_while_files_are_made(served_box, complete, watched):
    box = served_box()
    task_ids = [complete(box) for _ in range(3)]
    polled = threading.Event()
    watched.meanwhile = lambda: polled.wait(30) or pytest.fail("no poll was answered")
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(box.client.get, path_of(each, DerivedFile.THUMBNAIL)) for each in task_ids]
        while not watched.made:
            assert box.poll(task_ids[0])["state"] == "completed"
        assert box.poll(task_ids[0])["state"] == "completed"
        assert httpx.get(f"{box.client.base_url}/outputs/ltx2_{task_ids[0]}.mp4").status_code == 200
        polled.set()
        assert [each.result().status_code for each in asked] == [200] * 3
    assert watched.most <= 2


def test_the_files_go_with_their_task(box, complete):
    task_id = complete(box)
    for kind in DerivedFile:
        assert box.client.get(path_of(task_id, kind)).status_code == 200
        assert box.outputs.stat(derived_key(task_id, kind)) is not None
    assert box.client.delete(f"/v1/video/tasks/{task_id}").json()["outcome"] == "deleted"
    assert list(box.outputs.list("outputs/", "", 10)) == []
    for kind in DerivedFile:
        assert box.client.get(path_of(task_id, kind)).status_code == 404


def test_a_task_that_is_deleted_meanwhile_keeps_no_file(served_box, complete, watched):
    box = served_box()
    task_id = complete(box)
    watched.meanwhile = lambda: box.client.delete(f"/v1/video/tasks/{task_id}").raise_for_status()
    assert box.client.get(path_of(task_id, DerivedFile.LAST_FRAME)).status_code == 404
    assert list(box.outputs.list("outputs/", "", 10)) == []


def test_a_lost_video_is_named_as_lost(box, complete):
    task_id = complete(box)
    box.outputs.delete(output_key(task_id))
    answer = box.client.get(path_of(task_id, DerivedFile.SPRITESHEET))
    assert (answer.status_code, "has lost this file" in answer.json()["error"]) == (404, True)


def test_a_damaged_video_fails_that_download_alone(box, complete):
    task_id = complete(box)
    box.outputs.put(output_key(task_id), b"\x00" * 5000)
    for _ in range(2):
        answer = box.client.get(path_of(task_id, DerivedFile.LAST_FRAME))
        assert (answer.status_code, answer.json()["error_code"]) == (500, "encode_failed")
        assert "/" not in answer.json()["error"]
    assert box.client.get(path_of(task_id, DerivedFile.THUMBNAIL)).status_code == 200


def test_a_video_is_not_blamed_for_a_maker_that_is_killed_and_the_next_one_makes_the_file(box, complete):
    task_id = complete(box)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(box.client.get, path_of(task_id, DerivedFile.LAST_FRAME))
        while not (makers := readers(os.getpid(), CHILD)):
            assert not asked.done()
        makers[0].kill()
    assert (asked.result().status_code, asked.result().json()["error_code"]) == (503, "reader_lost")
    assert box.client.get(path_of(task_id, DerivedFile.LAST_FRAME)).status_code == 200


def test_with_api_keys_the_urls_are_signed_and_nobody_else_has_a_file_made(open_box, complete, watched):
    box = open_box(api_keys=KEYS)
    with speaking_as(box, ALICE):
        task_id = complete(box)
        downloads = box.poll(task_id)["downloads"]
    path = path_of(task_id, DerivedFile.LAST_FRAME)
    assert box.client.get(path).status_code == 401
    assert box.client.get(path, headers=bearer(BOB)).status_code == 404
    forged = downloads["last_frame"].replace("last_frame.png", "spritesheet.jpg")
    assert box.client.get(forged).status_code == 403
    assert watched.made == []
    assert box.client.get(path, headers=bearer(ALICE)).status_code == 200
    for url in downloads.values():
        assert box.client.get(url).status_code == 200


def test_openai_s_variants_are_the_same_files(box, complete):
    task_id = complete(box)
    for variant, kind in (("thumbnail", DerivedFile.THUMBNAIL), ("spritesheet", DerivedFile.SPRITESHEET)):
        answer = box.client.get(f"/v1/videos/video_{task_id}/content", params={"variant": variant})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["content-disposition"] == f'inline; filename="video_{task_id}.{kind}"'
        assert answer.content == box.client.get(path_of(task_id, kind)).content
    refused = box.client.get(f"/v1/videos/video_{task_id}/content", params={"variant": "audio"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "variant")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3OutputStore]:
    give_credentials(monkeypatch)
    with s3_server() as endpoint:
        yield S3OutputStore(new_bucket(endpoint), "videos", S3Options(endpoint_url=endpoint, region=REGION))


@pytest.mark.parametrize("delivery", ["proxy", "redirect"])
def test_a_bucket_keeps_them_too(open_box, complete, bucket, delivery):
    box = open_box(store=bucket, outputs={"delivery": delivery})
    task_id = complete(box)
    for kind in (DerivedFile.AUDIO, DerivedFile.LAST_FRAME):
        answer = box.client.get(path_of(task_id, kind), follow_redirects=False)
        if delivery == "redirect":
            assert answer.status_code == 307
            answer = httpx.get(answer.headers["location"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPES[kind])
        assert bucket.stat(derived_key(task_id, kind)).size_bytes == len(answer.content)
    box.client.delete(f"/v1/video/tasks/{task_id}")
    assert list(bucket.list("outputs/", "", 10)) == []
