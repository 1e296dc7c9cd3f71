"""The file is exactly what WhatsApp plays. Other code than the writer's reads it back."""

import json
import resource
import shutil
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.encoder import mp4
from deployments.encoder.mp4 import METADATA_KEYS, write_mp4
from deployments.encoder.rate_control import LEVELS, EncodeParams, initial_params, lowest_level
from models.clip import Clip
from models.errors import EncodeFailed
from models.request.request import VideoRequest
from tests.mp4_boxes import aac_object_type, avc_profile_and_level, color, creation_times, read_movie

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
NO_AUDIO = np.zeros((2, 0), np.float32)
MAIN = 77
AAC_LC = 2
MB = 1_000_000
MADE_AT = datetime(2026, 11, 28, 13, 30, 59, tzinfo=timezone(timedelta(hours=1)))


def noise(num_frames: int = 9, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def flat(num_frames: int, height: int, width: int, color_rgb=(0, 0, 0)) -> np.ndarray:
    return np.broadcast_to(np.array(color_rgb, np.uint8), (num_frames, height, width, 3))


def tone(duration_s: float, channels: int = 2, sample_rate_hz: int = 24_000, hertz: float = 440) -> np.ndarray:
    time = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    return np.tile(0.5 * np.sin(2 * np.pi * hertz * time), (channels, 1)).astype(np.float32)


def rate(frame_rate: float) -> Fraction:
    return VideoRequest(prompt="x", frame_rate=frame_rate).exact_frame_rate


def clip(frames=None, audio=NO_AUDIO, frame_rate: float = 25, sample_rate_hz: int = 24_000) -> Clip:
    return Clip(noise() if frames is None else frames, audio, sample_rate_hz, rate(frame_rate))


def write(given: Clip, path: Path, max_bytes: int | None = 16 * MB, **metadata: str) -> mp4.Mp4:
    return write_mp4(given, path, max_bytes=max_bytes, metadata=metadata, made_at=MADE_AT)


def probe(path: Path) -> dict:
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    ran = subprocess.run(command, capture_output=True, check=True)
    assert not ran.stderr
    return json.loads(ran.stdout)


def decode_audio(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def check_promise(path: Path, num_frames: int, frame_rate: Fraction) -> None:
    """WhatsApp plays the file, and audio and video have the same length."""
    movie = read_movie(path)
    assert movie.order.index("ftyp") == 0
    assert movie.order.index("moov") < movie.order.index("mdat")
    assert len(movie.tracks) == 2
    image, audio = movie.only("vide"), movie.only("soun")
    profile, _ = avc_profile_and_level(image.entry)
    assert profile == MAIN
    assert not image.has_composition_offsets
    assert image.num_samples == num_frames
    assert color(image.entry) == (b"nclx", 1, 1, 1, False)
    assert aac_object_type(audio.entry) == AAC_LC
    duration_s = float(num_frames / frame_rate)
    tick_s = 1 / 48_000
    assert movie.movie_s == pytest.approx(duration_s, abs=tick_s)
    assert image.samples_s == pytest.approx(duration_s, abs=1e-9)
    for track in (image, audio):
        ((length_s, start_s),) = track.edits
        assert length_s == pytest.approx(duration_s, abs=tick_s)
        assert track.header_s == pytest.approx(duration_s, abs=tick_s)
        assert start_s == (0 if track is image else 1024 / 48_000)


@pytest.mark.parametrize("frame_rate", [1, 7.3, 12.5, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60])
@pytest.mark.parametrize("num_frames", [9, 50])
def test_every_rate_and_length_gives_the_promised_file(tmp_path, frame_rate, num_frames):
    path = tmp_path / "a.mp4"
    given = clip(noise(num_frames), tone(num_frames / frame_rate - 0.03), frame_rate)
    written = write(given, path)
    assert written.duration_s == pytest.approx(num_frames / given.frame_rate)
    assert written.size_bytes == path.stat().st_size
    check_promise(path, num_frames, given.frame_rate)


def planes_of(frames: np.ndarray) -> np.ndarray:
    """The planes that the Generator sends when it runs on a GPU."""
    return np.stack([mp4._to_yuv(VideoReformatter(), frame).to_ndarray() for frame in frames])


def test_a_clip_without_audio_has_no_audio_stream_and_the_same_image(tmp_path):
    frames = noise(25, 64, 128)
    silent = write(clip(frames, None), tmp_path / "silent.mp4", max_bytes=None)
    write(clip(frames, tone(1)), tmp_path / "audio.mp4", max_bytes=None)
    movie = read_movie(tmp_path / "silent.mp4")
    assert movie.order.index("moov") < movie.order.index("mdat")
    assert [track.kind for track in movie.tracks] == ["vide"]
    assert (movie.movie_s, silent.duration_s) == (1.0, 1.0)
    decoded = []
    for name in ("silent", "audio"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            decoded.append(np.stack([frame.to_ndarray() for frame in container.decode(video=0)]))
    assert np.array_equal(*decoded)


def test_without_audio_the_image_gets_the_bits_of_the_audio(tmp_path):
    frames, cap = noise(49, 256, 384), 300_000
    with_audio = write(clip(frames, tone(49 / 25)), tmp_path / "audio.mp4", cap)
    silent = write(clip(frames, None), tmp_path / "silent.mp4", cap)
    assert max(with_audio.size_bytes, silent.size_bytes) <= cap
    bits = [each.max_bit_rate for each in (_params(cap, has_audio=True), _params(cap, has_audio=False))]
    assert bits[1] > bits[0]
    with pytest.raises(EncodeFailed, match="1000 are allowed"):
        write(clip(noise(25), None), tmp_path / "b.mp4", 1000)


def _params(max_bytes: int, *, has_audio: bool) -> EncodeParams:
    return initial_params(LEVELS[0], 49, 49 / 25, max_bytes, has_audio=has_audio)


def test_planes_give_the_promised_file_and_the_very_image_that_rgb_gives(tmp_path):
    frames = noise(9, 64, 128)
    for name, pixels in (("rgb", frames), ("planes", planes_of(frames))):
        write(clip(pixels, tone(9 / 25)), tmp_path / f"{name}.mp4", max_bytes=None)
    check_promise(tmp_path / "planes.mp4", 9, Fraction(25))
    decoded = []
    for name in ("rgb", "planes"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            decoded.append(np.stack([frame.to_ndarray() for frame in container.decode(video=0)]))
    assert np.array_equal(*decoded)


@pytest.mark.parametrize("shape", [(9, 64, 64), (9, 97, 64), (9, 96, 63), (9, 96), (0, 96, 64)])
def test_what_are_no_planes_is_refused(tmp_path, shape):
    with pytest.raises(EncodeFailed, match="planes"):
        write(clip(np.zeros(shape, np.uint8)), tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("width", "height", "num_frames", "frame_rate", "level"),
    [
        (64, 64, 481, 24, 30),
        (768, 512, 25, 25, 30),
        (1920, 64, 9, 25, 31),
        (64, 1920, 9, 25, 31),
        (1280, 704, 9, 25, 31),
        (1920, 1088, 9, 25, 40),
        (1088, 1920, 9, 30, 40),
        (1920, 1088, 9, 60, 42),
        (1920, 1920, 9, 60, 51),
    ],
)
def test_every_size_gives_the_promised_file_at_the_lowest_level(  # noqa: PLR0917
    tmp_path, width, height, num_frames, frame_rate, level
):
    path = tmp_path / "a.mp4"
    given = clip(flat(num_frames, height, width, (200, 30, 90)), frame_rate=frame_rate)
    write(given, path)
    check_promise(path, num_frames, given.frame_rate)
    assert avc_profile_and_level(read_movie(path).only("vide").entry)[1] == level


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    across=st.integers(1, 5),
    down=st.integers(1, 5),
    num_frames=st.integers(9, 60),
    frame_rate=st.floats(1, 60),
    channels=st.integers(1, 2),
    audio_s=st.floats(0, 5),
    sample_rate_hz=st.sampled_from([16_000, 24_000, 44_100, 48_000]),
)
def test_anything_within_bounds_gives_the_promised_file(  # noqa: PLR0917
    tmp_path, across, down, num_frames, frame_rate, channels, audio_s, sample_rate_hz
):
    path = tmp_path / "a.mp4"
    audio = tone(audio_s, channels, sample_rate_hz)
    given = clip(noise(num_frames, 64 * down, 64 * across), audio, frame_rate, sample_rate_hz)
    write(given, path)
    check_promise(path, num_frames, given.frame_rate)
    num_samples = round(num_frames / given.frame_rate * 48_000)
    assert abs(decode_audio(path).shape[1] - num_samples) <= 1024


@needs_ffprobe
@pytest.mark.parametrize("channels", [1, 2])
def test_ffprobe_reads_what_was_promised(tmp_path, channels):
    path = tmp_path / "a.mp4"
    write(clip(noise(50, 128, 192), tone(2.0, channels), 23.976), path)
    image, audio = probe(path)["streams"]
    wanted = {
        "codec_name": "h264",
        "profile": "Main",
        "has_b_frames": 0,
        "pix_fmt": "yuv420p",
        "level": 30,
        "color_range": "tv",
        "color_space": "bt709",
        "color_transfer": "bt709",
        "color_primaries": "bt709",
        "r_frame_rate": "24000/1001",
        "avg_frame_rate": "24000/1001",
        "nb_frames": "50",
        "start_time": "0.000000",
    }
    assert {name: image[name] for name in wanted} == wanted
    wanted = {
        "codec_name": "aac",
        "profile": "LC",
        "sample_rate": "48000",
        "channels": channels,
        "start_time": "0.000000",
        "duration_ts": 100_100,
    }
    assert {name: audio[name] for name in wanted} == wanted
    assert image["duration"] == audio["duration"] == "2.085417"


@needs_ffprobe
def test_every_metadata_key_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    said = {key: f"{key} Größe 🎬" for key in METADATA_KEYS}
    write(clip(), path, **said)
    tags = probe(path)["format"]["tags"]
    assert {key: tags[key] for key in said} == said


@needs_ffprobe
def test_metadata_of_any_text_is_taken(tmp_path):
    path = tmp_path / "a.mp4"
    write(clip(), path, title="half a pair: \ud83c", comment="a\0b" + "c" * 10_000)
    tags = probe(path)["format"]["tags"]
    assert tags["title"] == "half a pair: ?"
    assert tags["comment"] == "ab" + "c" * 10_000


def test_a_key_that_mp4_drops_is_refused(tmp_path):
    with pytest.raises(ValueError, match="prompt"):
        write(clip(), tmp_path / "a.mp4", prompt="a cat")


@pytest.mark.parametrize(
    "rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (180, 120, 60), (20, 200, 150)]
)
def test_a_flat_color_has_the_values_of_bt709_in_limited_range(tmp_path, rgb):
    path = tmp_path / "a.mp4"
    write(clip(flat(9, 64, 64, rgb)), path)
    red, green, blue = (value / 255 for value in rgb)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    wanted = (16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748)
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[4]
    planes = frame.to_ndarray()
    measured = planes[:64].mean(), planes[64:80].mean(), planes[80:].mean()
    assert measured == pytest.approx(wanted, abs=1.5)


def test_sound_and_image_start_together(tmp_path):
    """A click at 0.5 s stays at 0.5 s, through resampling and the encoder's delay."""
    audio = np.zeros((2, 24_000), np.float32)
    audio[:, 12_000:12_024] = 0.9
    path = tmp_path / "a.mp4"
    write(clip(noise(25), audio), path)
    with av.open(str(path)) as container:
        first = next(container.decode(audio=0))
    heard = np.abs(decode_audio(path)[0])
    start = round(first.pts * first.time_base * 48_000)
    assert start + heard.argmax() == pytest.approx(24_024, abs=48)


def test_sound_keeps_its_pitch_and_loudness(tmp_path):
    path = tmp_path / "a.mp4"
    write(clip(noise(50), tone(2.0, hertz=1000)), path)
    heard = decode_audio(path)[0][4_800:91_200]
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * 48_000 / len(heard) == pytest.approx(1000, abs=2)
    assert heard.std() == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize(
    "audio",
    [
        NO_AUDIO,
        np.zeros((0, 0), np.float32),
        np.full((2, 24_000), np.nan, np.float32),
        np.full((1, 24_000), np.inf, np.float32),
        np.full((2, 24_000), -1e30, np.float32),
        np.zeros((6, 24_000), np.float32),
        tone(60.0),
        tone(0.0001),
    ],
    ids=[
        "no samples",
        "no channels",
        "nan",
        "infinite",
        "far too loud",
        "six channels",
        "a minute",
        "3 samples",
    ],
)
def test_any_sound_is_made_safe(tmp_path, audio):
    path = tmp_path / "a.mp4"
    write(clip(noise(25), audio), path)
    check_promise(path, 25, Fraction(25))
    heard = decode_audio(path)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 1.5


def test_read_only_and_strided_frames_are_taken(tmp_path):
    frames = noise(18, 64, 128)[::2, :, ::2]
    frames.setflags(write=False)
    audio = tone(1.0)
    audio.setflags(write=False)
    write(clip(frames, audio), tmp_path / "a.mp4")
    check_promise(tmp_path / "a.mp4", 9, Fraction(25))


@pytest.mark.parametrize("max_bytes", [600_000, 200_000, 60_000])
@pytest.mark.parametrize(("num_frames", "frame_rate"), [(49, 24), (49, 60), (20, 1)])
def test_noise_stays_under_the_cap(tmp_path, max_bytes, num_frames, frame_rate):
    max_bytes = max_bytes * (4 if frame_rate == 1 else 1)
    path = tmp_path / "a.mp4"
    audio = np.random.default_rng(0).uniform(-1, 1, (2, 24_000 * num_frames // frame_rate))
    given = clip(noise(num_frames, 256, 384), audio.astype(np.float32), frame_rate)
    assert write(given, path, max_bytes).size_bytes <= max_bytes
    assert path.stat().st_size <= max_bytes
    check_promise(path, num_frames, given.frame_rate)


def test_the_cap_is_used_rather_than_wasted(tmp_path):
    sizes = [write(clip(noise(49, 256, 384)), tmp_path / "a.mp4", cap).size_bytes for cap in (300_000, 900_000)]
    assert 150_000 < sizes[0] < 300_000
    assert 450_000 < sizes[1] < 900_000


def test_a_cap_that_cannot_be_kept_fails_with_its_reason(tmp_path):
    with pytest.raises(EncodeFailed, match="1000 are allowed"):
        write(clip(noise(25)), tmp_path / "a.mp4", 1000)
    assert not list(tmp_path.iterdir())


def test_without_a_cap_the_level_alone_bounds_the_rate(tmp_path):
    frames = noise(25, 512, 768)
    size_bytes = write(clip(frames), tmp_path / "a.mp4", None).size_bytes
    assert size_bytes <= 2.2 * LEVELS[0].max_bit_rate / 8
    check_promise(tmp_path / "a.mp4", 25, Fraction(25))


def test_the_last_level_takes_what_no_level_holds():
    assert lowest_level(16_384, 16_384, Fraction(60)) == LEVELS[-1]


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 64, 64, 3), np.uint8),
        np.zeros((9, 64, 64), np.uint8),
        np.zeros((9, 64, 64, 4), np.uint8),
        np.zeros((9, 64, 64, 3), np.float32),
        np.zeros((9, 63, 63, 3), np.uint8),
    ],
    ids=["none", "grey", "rgba", "float", "odd sides"],
)
def test_frames_of_another_kind_fail_and_leave_nothing(tmp_path, frames):
    with pytest.raises(EncodeFailed):
        write(clip(frames), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_sound_of_another_shape_fails():
    with pytest.raises(EncodeFailed, match="audio must be"):
        write(clip(audio=np.zeros(10, np.float32)), Path("a.mp4"))


def test_a_missing_folder_is_an_encode_failure(tmp_path):
    with pytest.raises(EncodeFailed, match=r"a\.mp4 could not be written"):
        write(clip(), tmp_path / "missing" / "a.mp4")


@pytest.mark.parametrize("missing", [-1, 100, 20_000, 0.5, 1.0])
def test_a_full_disk_fails_saying_so_and_leaves_what_was_there(tmp_path, missing):
    path = tmp_path / "a.mp4"
    needed = write(clip(noise(25, 128, 128)), path).size_bytes
    path.write_bytes(b"before")
    room = int(needed * (1 - missing)) if isinstance(missing, float) else needed - abs(missing)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(EncodeFailed, match="no space left") as caught:
            write(clip(noise(25, 128, 128)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(caught.value.__cause__, OSError)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"before"


def test_every_header_has_the_time_of_making(tmp_path):
    """Seconds since 1904 in UTC (ISO 14496-12, 8.2.2): galleries sort by the first header, players may show any."""
    path = tmp_path / "a.mp4"
    write(clip(), path)
    assert creation_times(path) == [MADE_AT] * 5
    with av.open(str(path)) as container:
        assert container.metadata["creation_time"] == "2026-11-28T12:30:59.000000Z"


def test_the_same_clip_made_at_the_same_time_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(clip(noise(25, 128, 128), tone(1.0)), tmp_path / name, title="t")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
