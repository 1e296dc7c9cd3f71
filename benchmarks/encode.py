"""Speed of the encoder: `write_mp4`, compared with the ffmpeg command line and diffusers' `encode_video`.

    python -m benchmarks.encode [--rounds 5] [--height 512] [--width 768] [--frames 121]

The three run alternately on the same frames, and the medians are compared. ffmpeg gets this project's settings and the
raw frames through a pipe. diffusers writes another kind of file (x264's `medium` and crf 23, B-frames, no size limit).
Its ratio therefore shows what a user of the pipeline gains, not which code is better.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deployments.encoder.mp4 import PRESET, write_mp4
from deployments.encoder.rate_control import initial_params, lowest_level
from models.clip import Clip

FRAME_RATE = Fraction(24)
AUDIO_RATE_HZ = 24_000
MAX_BYTES = 16_000_000

Encode = Callable[[Clip, Path], None]


def smooth(num_frames: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Moving colored waves over a fixed grain: as easy to encode as a rendered video."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 4, (height, width)).astype(np.float32)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for index in range(num_frames):
        frames[index, ..., 0] = 127 + 110 * np.sin((across + 4 * index) / 37) + grain
        frames[index, ..., 1] = 127 + 110 * np.sin((down - 3 * index) / 23 + across / 90) + grain
        frames[index, ..., 2] = 127 + 110 * np.sin((across + down + 5 * index) / 51) + grain
    return frames


def noise(num_frames: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Random noise, the content that is hardest to encode."""
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def ours(clip: Clip, path: Path) -> None:
    """This project's encoder."""
    write_mp4(clip, path, max_bytes=MAX_BYTES, metadata={})


def ffmpeg(clip: Clip, path: Path) -> None:
    """The ffmpeg command line with the same settings."""
    num_frames, height, width, _ = clip.frames.shape
    duration_s = float(num_frames / clip.frame_rate)
    settings = initial_params(lowest_level(width, height, clip.frame_rate), num_frames, duration_s, MAX_BYTES)
    assert clip.audio is not None
    audio = path.with_suffix(".f32")
    audio.write_bytes(clip.audio.T.tobytes())
    command = [
        *("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-r", str(clip.frame_rate), "-i", "-"),
        *("-f", "f32le", "-ar", str(clip.sample_rate_hz), "-ac", str(len(clip.audio)), "-i", str(audio)),
        *("-vf", "scale=flags=bilinear:out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", PRESET, "-profile:v", "main", "-level", settings.level, "-bf", "0"),
        *("-crf", str(settings.crf), "-maxrate", str(settings.max_bit_rate)),
        *("-bufsize", str(settings.buffer_bits), "-colorspace", "bt709", "-color_primaries", "bt709"),
        *("-color_trc", "bt709", "-color_range", "tv", "-c:a", "aac", "-ar", "48000"),
        *("-b:a", str(settings.audio_bit_rate), "-movflags", "+faststart", str(path)),
    ]
    subprocess.run(command, input=memoryview(clip.frames).cast("B"), check=True)


def diffusers(clip: Clip, path: Path) -> None:
    """The function that the pipeline's own examples call."""
    import torch
    from diffusers.utils import encode_video

    assert clip.audio is not None
    encode_video(
        torch.from_numpy(clip.frames),
        fps=int(clip.frame_rate),
        output_path=str(path),
        audio=torch.from_numpy(clip.audio),
        audio_sample_rate=clip.sample_rate_hz,
    )


ENCODERS: dict[str, Encode] = {"ours": ours, "ffmpeg": ffmpeg, "diffusers": diffusers}


def measure(clip: Clip, rounds: int) -> dict[str, tuple[float, int]]:
    """Median seconds and size in bytes of each encoder, run alternately. The first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in ENCODERS}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for name, encode in ENCODERS.items():
                path = Path(folder) / f"{name}.mp4"
                start = time.perf_counter()
                encode(clip, path)
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                sizes[name] = path.stat().st_size
    return {name: (statistics.median(taken), sizes[name]) for name, taken in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 5, "height": 512, "width": 768, "frames": 121}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    print(f"{asked.width}x{asked.height}, {asked.frames} frames, {os.cpu_count()} cores, {asked.rounds} rounds")
    print(f"{'content':<8} {'encoder':<10} {'seconds':>8} {'frames/s':>9} {'MB':>7} {'time / ours':>12}")
    for content in (smooth, noise):
        frames = content(asked.frames, asked.height, asked.width)
        audio = np.zeros((2, round(asked.frames / FRAME_RATE * AUDIO_RATE_HZ)), np.float32)
        audio[:] = 0.3 * np.sin(np.arange(audio.shape[1]) / 20)
        result = measure(Clip(frames, audio, AUDIO_RATE_HZ, FRAME_RATE), asked.rounds)
        for name, (seconds, size_bytes) in result.items():
            print(
                f"{content.__name__:<8} {name:<10} {seconds:8.3f} {asked.frames / seconds:9.0f} "
                f"{size_bytes / 1e6:7.2f} {seconds / result['ours'][0]:12.2f}"
            )


if __name__ == "__main__":
    main()
