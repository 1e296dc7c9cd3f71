"""Reads an MP4 by ISO 14496-12, independently of the code that writes it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CONTAINERS = {"moov", "trak", "mdia", "minf", "stbl", "edts", "udta", "avc1", "mp4a"}
HEADER_BYTES = {"avc1": 78, "mp4a": 28}
"""The length of the fields before a container's child boxes."""


@dataclass(frozen=True)
class Box:
    name: str
    body: bytes

    def children(self) -> list["Box"]:
        return list(_boxes(self.body[HEADER_BYTES.get(self.name, 0) :]))

    def find(self, path: str) -> "Box":
        """The first box at a path such as `mdia/minf/stbl`."""
        box = self
        for name in path.split("/"):
            box = next(child for child in box.children() if child.name == name)
        return box


@dataclass(frozen=True)
class Track:
    """One `trak`. Durations in seconds; `edits` are (duration, media start), both in seconds."""

    kind: str
    media_s: float
    header_s: float
    edits: list[tuple[float, float]]
    samples_s: float
    num_samples: int
    has_composition_offsets: bool
    entry: Box


@dataclass(frozen=True)
class Movie:
    order: list[str]
    movie_s: float
    tracks: list[Track]

    def only(self, kind: str) -> Track:
        (track,) = [track for track in self.tracks if track.kind == kind]
        return track


def read_movie(path: Path) -> Movie:
    boxes = list(_boxes(path.read_bytes()))
    moov = next(box for box in boxes if box.name == "moov")
    time_scale, duration = _times(moov.find("mvhd"))
    tracks = [_track(box, time_scale) for box in moov.children() if box.name == "trak"]
    return Movie([box.name for box in boxes], duration / time_scale, tracks)


def creation_times(path: Path) -> list[datetime]:
    """The creation times of the movie, and of each track and media, in that order (8.2.2, 8.3.2, 8.4.2)."""
    moov = next(box for box in _boxes(path.read_bytes()) if box.name == "moov")
    traks = [box for box in moov.children() if box.name == "trak"]
    headers = [moov.find("mvhd"), *(trak.find(name) for trak in traks for name in ("tkhd", "mdia/mdhd"))]
    seconds = [struct.unpack_from(">Q" if header.body[0] else ">I", header.body, 4)[0] for header in headers]
    return [datetime(1904, 1, 1, tzinfo=UTC) + timedelta(seconds=each) for each in seconds]


def avc_profile_and_level(entry: Box) -> tuple[int, int]:
    """profile_idc and level_idc of an `avc1`: 77 is Main, 30 is level 3.0."""
    config = entry.find("avcC").body
    return config[1], config[3]


def color(entry: Box) -> tuple[bytes, int, int, int, bool]:
    """Kind, primaries, transfer, matrix and full range of the `colr` box."""
    body = entry.find("colr").body
    return body[:4], *struct.unpack(">HHH", body[4:10]), bool(body[10] >> 7)


def aac_object_type(entry: Box) -> int:
    """The audio object type in the `esds` of an `mp4a` (ISO 14496-1, 7.2.6): 2 is AAC-LC."""
    stream = _descriptor(entry.find("esds").body[4:], tag=3)
    decoder = _descriptor(stream[3:], tag=4)
    specific = _descriptor(decoder[13:], tag=5)
    return specific[0] >> 3


def _descriptor(data: bytes, tag: int) -> bytes:
    """The content of the descriptor at the start of `data`. Its length field has groups of seven bits."""
    assert data[0] == tag, f"descriptor {data[0]}, not {tag}"
    size, at = 0, 1
    while True:
        size, at = size << 7 | data[at] & 0x7F, at + 1
        if not data[at - 1] & 0x80:
            return data[at : at + size]


def _boxes(data: bytes) -> Iterator[Box]:
    at = 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= len(data) - at, f"a box of {size} bytes in {len(data) - at}"
        yield Box(name.decode("latin-1"), data[at + 8 : at + size])
        at += size


def _times(box: Box) -> tuple[int, int]:
    """Time scale and duration of `mvhd` and `mdhd`."""
    return struct.unpack_from(">QI" if box.body[0] else ">II", box.body, 20 if box.body[0] else 12)


def _track(trak: Box, movie_scale: int) -> Track:
    scale, duration = _times(trak.find("mdia/mdhd"))
    table = trak.find("mdia/minf/stbl")
    (header_duration,) = struct.unpack_from(">I", trak.find("tkhd").body, 20)
    runs = list(struct.iter_unpack(">II", table.find("stts").body[8:]))
    return Track(
        kind=trak.find("mdia/hdlr").body[8:12].decode(),
        media_s=duration / scale,
        header_s=header_duration / movie_scale,
        edits=[
            (length / movie_scale, start / scale)
            for length, start, _ in struct.iter_unpack(">IiI", trak.find("edts/elst").body[8:])
        ],
        samples_s=sum(count * delta for count, delta in runs) / scale,
        num_samples=sum(count for count, _ in runs),
        has_composition_offsets=any(box.name == "ctts" for box in table.children()),
        entry=next(_boxes(table.find("stsd").body[8:])),
    )
