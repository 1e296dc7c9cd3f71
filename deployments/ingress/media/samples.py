"""Decodes the audio of a file to float samples, mono or stereo, at a rate that MP4 can hold."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""The sampling rates that stay. Others become the largest one."""

Samples = npt.NDArray[np.float32]


def kept_rate_hz(stream: AudioStream) -> int:
    """The sampling rate in which the audio is kept."""
    return stream.sample_rate if stream.sample_rate in RATES_HZ else RATES_HZ[-1]


def kept_channels(stream: AudioStream) -> int:
    """The number of channels that are kept: 1 or 2."""
    return 1 if stream.channels == 1 else 2


def decode_samples(container: InputContainer, stream: AudioStream, origin_s: Fraction | None) -> Iterator[Samples]:
    """Blocks of samples (channels, length), from `origin_s` of the file on; None is the first sample.

    Silence fills what is missing at the origin.
    """
    rate = kept_rate_hz(stream)
    resampler = AudioResampler(format="fltp", layout="mono" if kept_channels(stream) == 1 else "stereo", rate=rate)
    skipped = 0
    for number, frame in enumerate(container.decode(stream)):
        if number == 0 and origin_s is not None:
            skipped = round((origin_s - _start_of(frame)) * rate)
            if skipped < 0:
                yield np.zeros((kept_channels(stream), -skipped), np.float32)
                skipped = 0
        for block in _resample(resampler, frame):
            yield block[:, skipped:]
            skipped = max(0, skipped - block.shape[1])
    for block in _resample(resampler, None):
        yield block[:, skipped:]
        skipped = max(0, skipped - block.shape[1])


def _resample(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[Samples]:
    if frame is not None:
        frame.pts = None  # gaps within the audio are no reason to stretch it
    for part in resampler.resample(frame):
        if part is not None:
            yield np.clip(np.nan_to_num(part.to_ndarray()), -1, 1).astype(np.float32)


def _start_of(frame: AudioFrame) -> Fraction:
    return Fraction(0) if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def take_samples(blocks: Iterator[Samples], count: int, channels: int) -> Samples:
    """The first `count` samples, filled with silence where there are fewer."""
    taken, kept = 0, []
    for block in blocks:
        kept.append(block[:, : count - taken])
        taken += kept[-1].shape[1]
        if taken >= count:
            break
    return np.concatenate([*kept, np.zeros((channels, count - taken), np.float32)], axis=1)
