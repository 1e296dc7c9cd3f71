"""Opens a client's file with FFmpeg's bounds: known formats and codecs, few streams, no other files, no network."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import av
from av.container import InputContainer
from av.error import FFmpegError

from models.errors import InvalidRequest
from models.request.json_words import Described

MAX_STREAMS = 16
AUDIO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,wav,mp3,aac,ogg,flac"
VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
CODECS = (
    "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mjpeg,prores,aac,mp3float,mp3,opus,libopus,vorbis,flac,alac,ac3,eac3,"
    "amrnb,amrwb,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_f32le,pcm_f64le,pcm_u8,pcm_alaw,pcm_mulaw"
)
OPTIONS = MappingProxyType(
    {
        "protocol_whitelist": "file",
        "max_streams": str(MAX_STREAMS),
        "probesize": str(5 * 1024**2),
        "analyzeduration": str(5_000_000),
        "codec_whitelist": CODECS,
    }
)
WHOLE = "a whole and undamaged file"


@contextlib.contextmanager
def open_media(source: Path, formats: str, field: str, kind: str) -> Iterator[InputContainer]:
    """Open the file. Raises InvalidRequest for one that FFmpeg cannot read, here and until the context ends."""
    size_bytes = source.stat().st_size
    try:
        container = av.open(str(source), options={**OPTIONS, "format_whitelist": formats})
    except (FFmpegError, ValueError):
        raise InvalidRequest(field, Described(f"another file, of {size_bytes} bytes"), kind) from None
    with container:
        try:
            yield container
        except (FFmpegError, MemoryError):
            raise InvalidRequest(field, Described(f"a damaged file of {size_bytes} bytes"), WHOLE) from None
