"""What the child process is asked for and what it answers. Both travel as JSON."""

from dataclasses import dataclass
from pathlib import Path

from models.request.request import SIDE_MULTIPLE

MAX_CONVERT_S = 90
"""Wall-clock bound of one file. 20 s of noise in 1080p take two thirds of it on two busy cores (measured)."""
MAX_MEMORY_BYTES = 4 * 1024**3
"""Address space of the process. A decoder of 4K with two threads needs a third of it."""
MAX_WRITTEN_BYTES = 1024**3
"""The largest file that the process may write. 20 s of noise in 1080p have 800 MB without loss (measured)."""
REFUSED = 3
"""The child's exit code when it refuses a file and writes the reason to stderr."""
AUDIO_FILE = "a WAV, MP3, M4A, AAC, OGG, Opus, FLAC or WebM file with audio"
VIDEO_FILE = "an MP4, MOV, MKV or WebM file with video"


@dataclass(frozen=True)
class AudioJob:
    """Write `duration_s` seconds of the audio in `source` as WAV, from `start_s` on.

    Without a duration: the rest of it, at most `most_s`.
    """

    source: Path
    target: Path
    start_s: float
    duration_s: float | None
    most_s: float


@dataclass(frozen=True)
class AudioFacts:
    """What was written, and how much the file has from `start_s` on."""

    duration_s: float
    rest_s: float


@dataclass(frozen=True)
class ClipBounds:
    """What a clip may have. A video with a larger size or rate is brought within them, and a longer one is refused.

    `added_s` is how much longer the result is: it counts for the pixels. The sides are multiples of `side_multiple`.
    """

    most_s: float
    added_s: float
    most_side_px: int
    most_total_pixels: int
    most_source_pixels: int
    least_rate: float
    most_rate: float
    side_multiple: int = SIDE_MULTIPLE


@dataclass(frozen=True)
class ClipJob:
    """Write the video in `source` as a lossless Matroska file within the bounds.

    A control video has no audio. Its sides are those of the result, divided by `divisor`. With `edges` it has the edges
    of the source.
    """

    source: Path
    target: Path
    bounds: ClipBounds
    is_control: bool = False
    divisor: int = 1
    edges: bool = False


@dataclass(frozen=True)
class ClipFacts:
    """The size of the result, the rate and the length that was written, and the size and rate of the source."""

    width: int
    height: int
    frame_rate: float
    num_frames: int
    has_audio: bool
    source_width: int
    source_height: int
    source_rate: float
    is_hdr: bool
