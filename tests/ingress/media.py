"""Makes audio and video files with PyAV, as phones and messengers send them, and reads what a task keeps of them."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from models.request.edits import Edit
from storage.inputs import TaskInputs, unpack_inputs
from tests.ingress.conftest import Box

RATE_HZ = 48000
TONE_HZ = 440
MILLISECONDS = Fraction(1, 1000)


def tone(seconds: float, rate_hz: int = RATE_HZ, channels: int = 2) -> npt.NDArray[np.float32]:
    """A sine as samples (channels, length)."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(0.5 * np.sin(2 * np.pi * TONE_HZ * at), (channels, 1)).astype(np.float32)


def audio_file(
    seconds: float = 1.0, kind: str = "wav", codec: str = "pcm_s16le", rate_hz: int = RATE_HZ, channels: int = 2
) -> bytes:
    """An audio file with a tone."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        layout = "mono" if channels == 1 else "stereo"
        stream = container.add_stream(codec, rate_hz, layout=layout)
        _encode_audio(container, stream, tone(seconds, rate_hz, channels))
    return buffer.getvalue()


def _encode_audio(container: Any, stream: Any, samples: npt.NDArray[np.float32]) -> None:
    context = stream.codec_context
    whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", stream.layout.name)
    whole.sample_rate, whole.pts = stream.sample_rate, 0
    resampler = AudioResampler(context.format, stream.layout, stream.sample_rate, context.frame_size or 1024)
    for frame in (*resampler.resample(whole), *resampler.resample(None)):
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def frames_of(count: int, width: int = 128, height: int = 64) -> list[npt.NDArray[np.uint8]]:
    """Frames as planes of yuv420p, each of another gray, with a brighter upper left quarter."""
    frames = []
    for number in range(count):
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = 40 + number * 3 % 100
        planes[: height // 2, : width // 2] = 200
        frames.append(planes)
    return frames


def video_file(  # the properties of files that differ
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    rate: Fraction | int = 25,
    times_ms: Sequence[int] | None = None,
    kind: str = "mp4",
    codec: str = "libx264",
    audio_s: float | None = None,
    audio_codec: str = "aac",
    trc: ColorTrc = ColorTrc.BT709,
    crop_to: tuple[int, int] | None = None,
) -> bytes:
    """A video file, lossless with H.264. `times_ms` are those of a variable rate."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height = crop_to or (frames[0].shape[1], frames[0].shape[0] * 2 // 3)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries = Colorspace.ITU709, ColorPrimaries.BT709
        context.color_trc, context.color_range = trc, ColorRange.MPEG
        if times_ms is not None:
            context.time_base = MILLISECONDS
        if audio_s is not None:
            audio = container.add_stream(audio_codec, RATE_HZ, layout="stereo")
            _encode_audio(container, audio, tone(audio_s))
        for number, planes in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_frames(content: bytes) -> list[npt.NDArray[np.uint8]]:
    """All frames of a video as planes of yuv420p."""
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray().astype(np.uint8) for frame in container.decode(video=0)]


def decode_audio(content: bytes) -> npt.NDArray[np.float32]:
    """All samples of the first audio stream (channels, length)."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.audio[0]
        resampler = AudioResampler("fltp", stream.layout, stream.sample_rate)
        parts = [part.to_ndarray() for frame in (*container.decode(stream), None) for part in resampler.resample(frame)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def inputs_of(box: Box, task_id: str) -> TaskInputs:
    """What a task keeps of its files."""
    key = box.row(task_id).input_key
    assert key is not None
    return unpack_inputs(b"".join(box.outputs.open(key)))


def edit_of(box: Box, task_id: str) -> Edit:
    """The edit that a task keeps."""
    source = inputs_of(box, task_id).source
    assert source is not None
    return source.edit
