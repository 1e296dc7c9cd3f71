"""The kinds of files that an upload url takes, and how many bytes each may have."""

from collections.abc import Collection
from enum import StrEnum

from deployments.ingress.errors import PayloadTooLarge
from deployments.ingress.images.formats import find_format
from models.request.request import RequestLimits

SNIFFED_BYTES = 1024
"""How much of a file decides on its kind."""
AUDIO_STARTS = (b"fLaC", b"OggS", b"ID3")
AUDIO_BRANDS = (b"M4A ", b"M4B ", b"F4A ")
MPEG_AUDIO = frozenset((b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9"))
"""The first bytes of MP3 and AAC without tags."""
MATROSKA = b"\x1aE\xdf\xa3"


class UploadKind(StrEnum):
    """What a file is."""

    IMAGE = "image"
    """A first, a last or another frame."""
    AUDIO = "audio"
    """Audio that a video is made to."""
    VIDEO = "video"
    """A video that is changed or made longer."""

    def max_bytes(self, limits: RequestLimits) -> int:
        """The bound of such a file."""
        match self:
            case UploadKind.IMAGE:
                return limits.max_image_bytes
            case UploadKind.AUDIO:
                return limits.max_audio_bytes
            case UploadKind.VIDEO:
                return limits.max_video_bytes


def find_kinds(start: bytes) -> tuple[UploadKind, ...]:
    """The kinds of which a file may be that begins so. What is not known may be any."""
    if find_format(start) is not None:
        return (UploadKind.IMAGE,)
    is_wave = start.startswith((b"RIFF", b"RF64")) and start[8:12] == b"WAVE"
    if is_wave or start.startswith(AUDIO_STARTS) or start[:2] in MPEG_AUDIO:
        return (UploadKind.AUDIO,)
    if start[4:8] == b"ftyp":
        return (UploadKind.AUDIO,) if start[8:12] in AUDIO_BRANDS else (UploadKind.AUDIO, UploadKind.VIDEO)
    return (UploadKind.AUDIO, UploadKind.VIDEO) if start.startswith(MATROSKA) else tuple(UploadKind)


def named_kind(content_type: str) -> UploadKind | None:
    """The kind that a content type names, such as `video/mp4`; None if it names none."""
    named = content_type.split("/", maxsplit=1)[0].strip().lower()
    return next((kind for kind in UploadKind if kind == named), None)


class UploadBound:
    """Checks the size of a file while it arrives. `declared_bytes` is what the client announced, or 0.

    Where its first bytes leave several kinds, `named` decides, which the client named. The bytes come first: a client
    may name the wrong kind.
    """

    def __init__(
        self,
        kind: UploadKind | None,
        limits: RequestLimits,
        declared_bytes: int = 0,
        named: UploadKind | None = None,
    ) -> None:
        self._named = named
        self._limits = limits
        self._declared_bytes = declared_bytes
        self._ticket = kind
        self._kinds: Collection[UploadKind] = tuple(UploadKind) if kind is None else (kind,)
        self._start = b""
        self._size_bytes = 0

    @property
    def max_bytes(self) -> int:
        """The bound, by what is known of the file so far."""
        return max(kind.max_bytes(self._limits) for kind in self._kinds)

    def check(self, chunk: bytes) -> None:
        """Count the next bytes. Raises PayloadTooLarge, which names the kind, as soon as the file is too large."""
        self._size_bytes += len(chunk)
        if self._ticket is None and len(self._start) < SNIFFED_BYTES:
            self._start += chunk[:SNIFFED_BYTES]
            self._kinds = self._find_kinds()
        most = self.max_bytes
        if max(self._size_bytes, self._declared_bytes) > most:
            given = f"{self._declared_bytes} bytes" if self._declared_bytes > most else "more than that"
            raise PayloadTooLarge(given, most, f"for {' or '.join(self._kinds)} files")

    def _find_kinds(self) -> Collection[UploadKind]:
        kinds = find_kinds(self._start)
        return (self._named,) if self._start and self._named in kinds else kinds
