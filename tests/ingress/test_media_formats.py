"""Audio and video as phones and messengers send them, and files that are meant to harm."""

import contextlib
import resource
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import ColorTrc

from deployments.ingress.media.child_process import read_audio_in_child, read_clip_in_child
from deployments.ingress.media.jobs import AudioFacts, AudioJob, ClipBounds, ClipFacts, ClipJob
from models.errors import InvalidRequest
from tests.ingress.media import audio_file, decode_audio, decode_frames, frames_of, tone, video_file

BOUNDS = ClipBounds(60.0, 0.0, 1920, 1920 * 1088 * 481, 4096 * 2304, 1.0, 60.0)
IDENTITY, TURNED_RIGHT = (1, 0, 0, 1), (0, 1, -1, 0)


def read_clip(folder: Path, content: bytes, bounds: ClipBounds = BOUNDS) -> tuple[ClipFacts, bytes]:
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    facts = read_clip_in_child(ClipJob(source, target, bounds))
    return facts, target.read_bytes()


def read_audio(folder: Path, content: bytes) -> tuple[AudioFacts, bytes]:
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    facts = read_audio_in_child(AudioJob(source, target, 0.0, None, 20.0))
    return facts, target.read_bytes()


@pytest.mark.parametrize(
    ("kind", "codec", "rate_hz"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("wav", "pcm_s24le", 96_000),
        ("mp3", "libmp3lame", 44_100),
        ("mp4", "aac", 48_000),
        ("adts", "aac", 48_000),
        ("ogg", "libopus", 48_000),
        ("flac", "flac", 22_050),
        ("webm", "libopus", 48_000),
    ],
)
def test_audio_of_each_format_is_heard_as_it_is(tmp_path, kind, codec, rate_hz):
    facts, wave = read_audio(tmp_path, audio_file(1.0, kind, codec, rate_hz))
    assert facts.duration_s == pytest.approx(1.0, abs=0.06)
    rate_hz = min(rate_hz, 48_000)
    heard = decode_audio(wave)[0]
    at = np.abs(np.fft.rfft(heard[: rate_hz // 2] * np.hanning(rate_hz // 2)))
    assert np.argmax(at) * 2 == pytest.approx(440, abs=2)


def test_a_voice_note_stays_mono(tmp_path):
    _, wave = read_audio(tmp_path, audio_file(1.0, "ogg", "libopus", 16_000, 1))
    assert len(decode_audio(wave)) == 1


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("mov", "libx264")])
def test_a_video_of_constant_rate_keeps_its_frames(tmp_path, kind, codec):
    frames = frames_of(20)
    facts, clip = read_clip(tmp_path, video_file(frames, rate=Fraction(30000, 1001), kind=kind, codec=codec))
    assert (facts.frame_rate, facts.num_frames, facts.has_audio) == (29.97, 20, False)
    assert all(np.array_equal(*pair) for pair in zip(decode_frames(clip), frames, strict=True))


def test_a_webm_is_read(tmp_path):
    content = video_file(frames_of(20), kind="webm", codec="libvpx-vp9", audio_s=0.8, audio_codec="libopus")
    facts, clip = read_clip(tmp_path, content)
    assert (facts.width, facts.height, facts.num_frames, facts.has_audio) == (128, 64, 20, True)
    assert np.abs(decode_frames(clip)[10].astype(int) - frames_of(20)[10]).mean() < 3


def test_a_variable_rate_becomes_constant_and_keeps_its_times(tmp_path):
    """A phone in low light: 30 frames per second, then 15."""
    times = [round(number * 1000 / 30) for number in range(30)] + [1000 + round(n * 1000 / 15) for n in range(15)]
    facts, clip = read_clip(tmp_path, video_file(frames_of(45), rate=30, times_ms=times))
    shown = decode_frames(clip)
    assert len(shown) == facts.num_frames == pytest.approx(2 * facts.frame_rate, abs=2)
    at_half, at_end = (shown[round(at * facts.frame_rate)][40, 100] for at in (0.5, 1.8))
    assert int(at_half) == pytest.approx(frames_of(45)[15][40, 100], abs=4)
    assert int(at_end) == pytest.approx(frames_of(45)[42][40, 100], abs=4)


def test_a_rotated_video_stands_upright(tmp_path):
    facts, clip = read_clip(tmp_path, turned(video_file(frames_of(10)), TURNED_RIGHT))
    assert (facts.width, facts.height) == (64, 128)
    upright = decode_frames(clip)[0][:128]
    assert upright[20, 50] == 200, "the bright corner has moved to the upper right"
    assert upright[20, 10] < 100


def test_sides_that_the_model_cannot_render_are_moved_to_the_nearest(tmp_path):
    facts, clip = read_clip(tmp_path, video_file(frames_of(10, 150, 98)))
    assert (facts.source_width, facts.source_height) == (150, 98)
    assert (facts.width, facts.height) == (128, 128)
    assert decode_frames(clip)[0].shape == (192, 128)


def test_a_high_rate_is_halved(tmp_path):
    facts, _ = read_clip(tmp_path, video_file(frames_of(40), rate=120))
    assert (facts.source_rate, facts.frame_rate, facts.num_frames) == (120, 60, 20)


def test_hdr_is_told(tmp_path):
    facts, _ = read_clip(tmp_path, video_file(frames_of(5), trc=ColorTrc.ARIB_STD_B67))
    assert facts.is_hdr


def test_audio_that_is_longer_or_shorter_than_the_video_gets_its_length(tmp_path):
    for audio_s in (0.4, 3.0):
        _, clip = read_clip(tmp_path, video_file(frames_of(25), audio_s=audio_s))
        audio = decode_audio(clip)[0]
        assert len(audio) == 48_000
        heard = int(48_000 * min(audio_s, 1.0)) - 2000
        assert np.corrcoef(audio[:heard], tone(1.0)[0][:heard])[0, 1] > 0.99


def test_audio_that_begins_before_the_video_is_cut_to_begin_with_it(tmp_path):
    content = video_file(frames_of(25), times_ms=[503 + 40 * number for number in range(25)], audio_s=1.5)
    facts, clip = read_clip(tmp_path, content)
    assert facts.num_frames == 25
    heard, at = decode_audio(clip)[0][2000:40_000], round(0.503 * 48_000)
    assert np.corrcoef(heard, tone(1.5)[0][at + 2000 : at + 40_000])[0, 1] > 0.99


def test_a_longer_video_is_refused_with_the_bound(tmp_path):
    with pytest.raises(InvalidRequest, match=r"video must be a video of at most 0\.5 s; a video of 1 s was given"):
        read_clip(tmp_path, video_file(frames_of(25)), ClipBounds(0.5, 0.0, 1920, 10**9, 10**7, 1.0, 60.0))


HOSTILE = {
    "text": b"This is no video.\n" * 100,
    "zero bytes": bytes(100_000),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n",
    "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "boxes in boxes": struct.pack(">I4s", 0, b"ftyp") + struct.pack(">I4s", 8, b"moov") * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_media_file_is_refused(tmp_path, name):
    with pytest.raises(InvalidRequest, match=r"^video must be"):
        read_clip(tmp_path, HOSTILE[name])
    with pytest.raises(InvalidRequest, match=r"^audio must be"):
        read_audio(tmp_path, HOSTILE[name])


def test_a_file_that_ends_early_or_is_damaged_is_read_or_refused(tmp_path):
    whole = video_file(frames_of(30), audio_s=1.2)
    damaged = [whole[: len(whole) * part // 8] for part in range(8)]
    drawn = np.random.default_rng(5)
    for _ in range(12):
        content = bytearray(whole)
        for at in drawn.integers(0, len(content), 60):
            content[at] = drawn.integers(256)
        damaged.append(bytes(content))
    for content in damaged:
        with contextlib.suppress(InvalidRequest):
            facts, _ = read_clip(tmp_path, content)
            assert facts.num_frames <= 60 * 60


@pytest.mark.parametrize("count", [40, 10_000])
def test_many_streams_are_refused_at_little_cost(tmp_path, count):
    whole = video_file(frames_of(5))
    start, end = find_box(whole, b"moov", b"trak")
    tracks = whole[start:end] * count
    moov_start, moov_end = find_box(whole, b"moov")
    moov = whole[moov_start + 8 : moov_end] + tracks
    content = whole[:moov_start] + struct.pack(">I4s", len(moov) + 8, b"moov") + moov + whole[moov_end:]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(InvalidRequest, match=r"^video must be"):
        read_clip(tmp_path, content)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20


def test_dimensions_beyond_the_bound_are_refused_before_a_frame_is_decoded(tmp_path):
    with pytest.raises(InvalidRequest, match="pixels a frame; a video of 128x64 was given"):
        read_clip(tmp_path, video_file(frames_of(5)), ClipBounds(60.0, 0.0, 1920, 10**9, 1000, 1.0, 60.0))


def turned(content: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """The same MP4 with this display matrix in its first track."""
    start, _ = find_box(content, b"moov", b"trak", b"tkhd")
    at = start + 8 + 40
    a, b, c, d = (each * 65536 for each in matrix)
    return content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :]


def find_box(content: bytes, *path: bytes) -> tuple[int, int]:
    """Where the first box at a path of names begins and ends."""
    at, end = 0, len(content)
    for depth, name in enumerate(path):
        while True:
            size, found = struct.unpack_from(">I4s", content, at)
            if found == name:
                break
            at += size
        end = at + size
        if depth < len(path) - 1:
            at += 8
    return at, end
