"""Prepares the audio of a clip for the MP4: finite samples, 48 kHz, exactly as long as the video."""

import numpy as np
import numpy.typing as npt

from models.waveform import resample

SAMPLE_RATE_HZ = 48_000
MAX_CHANNELS = 2

AudioArray = npt.NDArray[np.float32]


def prepare_audio(audio: AudioArray, sample_rate_hz: int, num_samples: int) -> AudioArray:
    """Resample `audio`, float32 (channels, samples), to 48 kHz; pad it with silence or cut it to `num_samples`.

    Mono stays mono. Of more than two channels, the first two are kept. Without channels the result is stereo silence.
    NaN becomes silence, and samples outside [-1, 1] are clipped.
    """
    audio = _sanitize(audio[:MAX_CHANNELS])
    fitted = np.zeros((len(audio) or MAX_CHANNELS, num_samples), np.float32)
    if audio.size:
        resampled = resample(audio, sample_rate_hz, SAMPLE_RATE_HZ)[:, :num_samples]
        fitted[:, : resampled.shape[1]] = np.clip(resampled, -1.0, 1.0)
    return fitted


def _sanitize(audio: AudioArray) -> AudioArray:
    finite = np.nan_to_num(audio.astype(np.float32), copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(finite, -1.0, 1.0, out=finite)
