"""Reads the audio and the clip of an input file, which the Ingress wrote. Uses PyAV."""

import io

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from models.errors import RenderFailed
from models.waveform import Waveform


def read_audio(content: bytes) -> Waveform:
    """The audio of a FLAC or WAV file. Raises RenderFailed for a file without audio."""
    with av.open(io.BytesIO(content), "r") as container:
        audio = _read_audio(container)
    if audio is None:
        raise RenderFailed("the given audio of the task is empty")
    return audio


def read_clip(content: bytes) -> tuple[npt.NDArray[np.uint8], Waveform | None]:
    """The frames of a Matroska file as planes (T, H * 3 / 2, W), and its audio, if it has some.

    Raises RenderFailed for a file without frames.
    """
    count = _count_frames(content)
    if not count:
        raise RenderFailed("the given video of the task is empty")
    with av.open(io.BytesIO(content), "r") as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        frames = np.empty((count, video.height * 3 // 2, video.width), np.uint8)
        for number, frame in enumerate(container.decode(video)):
            frames[number] = frame.to_ndarray(format="yuv420p")
    with av.open(io.BytesIO(content), "r") as container:
        return frames, _read_audio(container)


def _count_frames(content: bytes) -> int:
    """The number of frames: one in each packet. Counted first, so that the frames are in memory only once."""
    with av.open(io.BytesIO(content), "r") as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def _read_audio(container: InputContainer) -> Waveform | None:
    """All samples of the first audio stream, from the start of the file on. None without any."""
    if not container.streams.audio:
        return None
    context = container.streams.audio[0].codec_context
    layout = "mono" if context.channels == 1 else "stereo"
    resampler = AudioResampler(format="fltp", layout=layout, rate=context.sample_rate)
    blocks = [
        part.to_ndarray()
        for frame in (*container.decode(audio=0), None)
        for part in resampler.resample(frame)
        if part is not None
    ]
    if not blocks:
        return None
    return Waveform(np.concatenate(blocks, axis=1, dtype=np.float32), context.sample_rate)
