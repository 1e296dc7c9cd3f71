"""Writes the part of a client's audio that a video is made from, as WAV with float samples."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deployments.ingress.media.jobs import AUDIO_FILE, AudioFacts, AudioJob
from deployments.ingress.media.opening import AUDIO_FORMATS, open_media
from deployments.ingress.media.samples import Samples, decode_samples, kept_channels, kept_rate_hz, take_samples
from models.errors import InvalidRequest
from models.request.json_words import Described
from models.request.request import spell_seconds

AUDIO, AUDIO_START, DURATION = "audio", "audio_start", "duration"
"""The fields of audio-to-video."""
LEAST_S = 0.5
LONGEST_FILE_S = 4 * 3600
"""A longer file is refused: to find its end, all of it is decoded."""
SLACK_S = 0.05
"""A duration may exceed the rest of the audio by this: players round what they show."""
WAVE_FLOAT = 3


def write_audio(job: AudioJob) -> AudioFacts:
    """Write the part, and return how long it is. Raises InvalidRequest."""
    with open_media(job.source, AUDIO_FORMATS, AUDIO, AUDIO_FILE) as container:
        if not container.streams.audio:
            raise InvalidRequest(AUDIO, Described("a file without audio"), AUDIO_FILE)
        stream = container.streams.audio[0]
        rate, channels = kept_rate_hz(stream), kept_channels(stream)
        blocks = _Counted(decode_samples(container, stream, None), rate)
        first = _skip(blocks, round(job.start_s * rate))
        wanted_s = job.most_s if job.duration_s is None else job.duration_s
        samples = take_samples(_chained(first, blocks), round(wanted_s * rate), channels)
        for _ in blocks:
            pass
    rest_s = blocks.count / rate - job.start_s
    length_s = _checked_length_s(job, blocks.count / rate)
    _write_wave(job.target, samples[:, : round(length_s * rate)], rate)
    return AudioFacts(length_s, rest_s)


class _Counted:
    """Blocks of samples, and how many samples they had. Raises InvalidRequest beyond LONGEST_FILE_S."""

    def __init__(self, blocks: Iterator[Samples], rate_hz: int) -> None:
        self._blocks = blocks
        self._most = LONGEST_FILE_S * rate_hz
        self.count = 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.count += block.shape[1]
            if self.count > self._most:
                raise InvalidRequest(AUDIO, Described("a longer file"), f"audio of at most {LONGEST_FILE_S} s")
            yield block


def _skip(blocks: _Counted, count: int) -> Samples | None:
    """Drop `count` samples, and return what is left of the block in which they end."""
    for block in blocks:
        if blocks.count > count:
            return block[:, block.shape[1] - (blocks.count - count) :]
    return None


def _chained(first: Samples | None, blocks: _Counted) -> Iterator[Samples]:
    if first is not None:
        yield first
        yield from blocks


def _checked_length_s(job: AudioJob, total_s: float) -> float:
    """The length of the part in seconds. Raises InvalidRequest where the file has no such part."""
    rest_s = total_s - job.start_s
    if total_s < LEAST_S:
        given = Described(f"audio of {spell_seconds(total_s)} s")
        raise InvalidRequest(AUDIO, given, f"audio of at least {LEAST_S} s")
    if rest_s < LEAST_S:
        allowed = f"a number from 0 to {spell_seconds(total_s - LEAST_S)}: the audio has {spell_seconds(total_s)} s"
        raise InvalidRequest(AUDIO_START, job.start_s, allowed)
    if job.duration_s is None:
        return min(rest_s, job.most_s)
    if job.duration_s > rest_s + SLACK_S:
        allowed = f"a number from {LEAST_S} to {spell_seconds(rest_s)}, the rest of the audio"
        raise InvalidRequest(DURATION, job.duration_s, allowed)
    return min(rest_s, job.duration_s)


def _write_wave(target: Path, samples: Samples, rate_hz: int) -> None:
    """Write 32-bit float WAV, which the standard library cannot."""
    channels, content = len(samples), np.ascontiguousarray(samples.T, "<f4").tobytes()
    frame_bytes = 4 * channels
    kind = struct.pack("<HHIIHH", WAVE_FLOAT, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 32)
    chunks = b"fmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", len(content)) + content
    target.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
