"""Writes a clip as an MP4 that WhatsApp plays on every phone. Uses PyAV; imports neither Ray nor the stores.

WhatsApp requires H.264 without B-frames below High profile, AAC-LC, one audio stream, yuv420p, `moov` first, and at
most 16 MB. In addition the file has tagged BT.709 colors, and audio and video end at the same time. A clip without
audio becomes a file without an audio stream.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from deployments.encoder.atomic_file import atomic_write
from deployments.encoder.audio import SAMPLE_RATE_HZ, AudioArray, prepare_audio
from deployments.encoder.rate_control import EncodeParams, initial_params, lowest_level, minimum_params, reduced_params
from models.clip import Clip
from models.errors import EncodeFailed
from models.waveform import audio_frame, layout

AudioPacket: TypeAlias = "Packet[AudioStream]"
PRESET = "veryfast"
"""Takes a third of the time of x264's `medium`, for 4 % more bytes and 0.1 dB (moving waves with grain, crf 18)."""
MAX_TRIES = 4
AAC_FRAME = 1024
"""Samples per AAC-LC packet."""
METADATA_KEYS = frozenset({"title", "artist", "album", "comment", "genre", "copyright", "date", "description"})
"""The keys that an MP4 keeps and ffprobe shows. The muxer silently drops any other key."""
CREATION_TIME = "creation_time"
"""Metadata key. The muxer writes the time into the headers of the movie and its tracks, in whole seconds."""
CONTAINER_OPTIONS = {"movflags": "+faststart", "movie_timescale": "240000"}
"""Container options: they have no effect as stream options. The time scale is a multiple of 48,000 and of the common
frame rates, so that audio and video end at the same time."""


@dataclass(frozen=True)
class Mp4:
    """Duration and size of a written file."""

    duration_s: float
    size_bytes: int


def write_mp4(
    clip: Clip, path: Path, *, max_bytes: int | None, metadata: Mapping[str, str], made_at: datetime | None = None
) -> Mp4:
    """Encode `clip` into `path`, in at most `max_bytes` (None: no limit).

    `metadata` may only have keys in METADATA_KEYS; another key raises ValueError. Photo galleries sort by `made_at`
    (None: now); without it they list a video under 1904. On an error `path` does not exist or is unchanged. Raises
    EncodeFailed, also when no settings make the file small enough.
    """
    _check(clip, metadata)
    duration = len(clip.frames) / clip.frame_rate
    metadata = {
        **metadata,
        CREATION_TIME: (made_at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    num_samples = round(duration * SAMPLE_RATE_HZ)
    audio = None if clip.audio is None else prepare_audio(clip.audio, clip.sample_rate_hz, num_samples)
    with atomic_write(path) as temporary:
        size_bytes = _encode_within(max_bytes, clip, audio, temporary, metadata)
    return Mp4(float(duration), size_bytes)


def _check(clip: Clip, metadata: Mapping[str, str]) -> None:
    if unknown := metadata.keys() - METADATA_KEYS:
        raise ValueError(f"an MP4 does not keep {sorted(unknown)}")
    shape = clip.frames.shape
    as_rgb = len(shape) == 4 and shape[3] == 3  # noqa: PLR2004
    as_planes = len(shape) == 3 and shape[1] % 3 == 0 and shape[2] % 2 == 0  # noqa: PLR2004
    if not (as_rgb or as_planes) or clip.frames.dtype != np.uint8 or 0 in shape:
        raise EncodeFailed(
            f"frames must be uint8 (T, H, W, 3), or planes (T, H * 3 / 2, W), not {clip.frames.dtype} {shape}"
        )
    if clip.audio is not None and clip.audio.ndim != 2:  # noqa: PLR2004
        raise EncodeFailed(f"audio must be (channels, samples), not {clip.audio.shape}")


def _encode_within(
    max_bytes: int | None, clip: Clip, audio: AudioArray | None, path: Path, metadata: Mapping[str, str]
) -> int:
    """Encode with lower and lower settings until the file fits into `max_bytes`. Returns its size in bytes."""
    num_frames = len(clip.frames)
    level = lowest_level(clip.width, clip.height, clip.frame_rate)
    duration_s = float(num_frames / clip.frame_rate)
    settings = initial_params(level, num_frames, duration_s, max_bytes, has_audio=audio is not None)
    for tries_left in reversed(range(MAX_TRIES)):
        _encode(clip, audio, settings, path, metadata)
        size_bytes = path.stat().st_size
        if max_bytes is None or size_bytes <= max_bytes:
            return size_bytes
        settings = reduced_params(settings, size_bytes, max_bytes) if tries_left > 1 else minimum_params(settings)
    raise EncodeFailed(f"the video needs {size_bytes} bytes at the lowest quality; {max_bytes} are allowed")


def _encode(
    clip: Clip, audio: AudioArray | None, settings: EncodeParams, path: Path, metadata: Mapping[str, str]
) -> None:
    try:
        with av.open(str(path), "w", format="mp4", container_options=CONTAINER_OPTIONS) as container:
            container.metadata.update({key: _clean(text) for key, text in metadata.items()})
            image = _add_video_stream(container, clip, settings)
            packets: Iterator[AudioPacket] = iter(())
            if audio is not None:
                packets = _encode_audio(_add_audio_stream(container, audio, settings), audio)
            _mux(container, image, clip, packets)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise EncodeFailed(f"the encoder failed: {error}") from error


def _clean(text: str) -> str:
    """Make text safe for the muxer: a NUL would end it, and a lone surrogate would raise an error."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _add_video_stream(container: OutputContainer, clip: Clip, settings: EncodeParams) -> VideoStream:
    options = {
        "preset": PRESET,
        "profile": "main",
        "level": settings.level,
        "bf": "0",
        "crf": str(settings.crf),
        "maxrate": str(settings.max_bit_rate),
        "bufsize": str(settings.buffer_bits),
    }
    stream = container.add_stream("libx264", rate=clip.frame_rate, options=options)
    stream.height, stream.width = clip.height, clip.width
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_type = ThreadType.FRAME
    context.time_base = 1 / clip.frame_rate
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
    return stream


def _add_audio_stream(container: OutputContainer, audio: AudioArray, settings: EncodeParams) -> AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE_HZ, options={"profile": "aac_low"})
    stream.layout = layout(audio)
    stream.bit_rate = settings.audio_bit_rate
    return stream


def _encode_audio(stream: AudioStream, audio: AudioArray) -> Iterator[AudioPacket]:
    """Encode the audio one packet at a time, so that this work overlaps with x264's threads."""
    for start in range(0, audio.shape[1], AAC_FRAME):
        frame = audio_frame(audio[:, start : start + AAC_FRAME], SAMPLE_RATE_HZ)
        frame.pts = start
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _mux(
    container: OutputContainer,
    stream: VideoStream,
    clip: Clip,
    audio: Iterator[AudioPacket],
) -> None:
    """Encode and mux the video, with each audio packet interleaved by its timestamp."""
    reformatter = VideoReformatter()
    time_base = 1 / stream.codec_context.framerate
    for index, pixels in enumerate(clip.frames):
        frame = _from_planes(pixels) if clip.has_planes else _to_yuv(reformatter, pixels)
        frame.pts, frame.time_base = index, time_base
        container.mux(stream.encode(frame))
        _mux_audio_until(container, audio, index * time_base)
    container.mux(stream.encode(None))
    for packet in audio:
        container.mux(packet)


def _mux_audio_until(container: OutputContainer, audio: Iterator[AudioPacket], time_s: Fraction) -> None:
    for packet in audio:
        packet_s = (packet.pts or 0) * packet.time_base
        container.mux(packet)
        if packet_s >= time_s:
            return


def _from_planes(planes: npt.NDArray[np.uint8]) -> VideoFrame:
    """Wrap planes (H * 3 / 2, W), yuv420p. The Generator made them BT.709 in limited range already."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
    frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    return frame


def _to_yuv(reformatter: VideoReformatter, pixels: npt.NDArray[np.uint8]) -> VideoFrame:
    """Convert RGB (H, W, 3) to BT.709 yuv420p in limited range. PyAV uses BT.601 unless both sides are named."""
    rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24")
    return reformatter.reformat(
        rgb,
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
