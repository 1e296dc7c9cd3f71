"""Converts a finished MP4 to other formats with PyAV: WebM for web pages, MOV for editors, GIF for documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from deployments.ingress.derived.contents import DECODER_THREADS, fit_within

GIF_SIDE_PX = 480
GIF_RATE = Fraction(25, 2)
"""Frames per second. A GIF counts hundredths of a second: each frame lasts eight of them."""


@dataclass(frozen=True)
class Format:
    """A container and the encoders of its streams. `options` are those of the video encoder."""

    name: str
    video: str
    pixel_format: str
    options: Mapping[str, str]
    audio: str


WEBM = Format(
    "webm",
    "libvpx-vp9",
    "yuv420p",
    {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "tile-columns": "2"},
    "libopus",
)
"""`deadline: good` takes five times the time of `realtime`, for 20 % fewer bytes (512x768 with grain, measured)."""
MOV = Format("mov", "prores_ks", "yuv422p10le", {"profile": "standard"}, "pcm_s16le")
"""ProRes 422: no frame needs another one, so an editor finds each at once."""


def write_webm(video: Path, target: Path) -> None:
    """Write a video as VP9 and Opus."""
    _convert(video, target, WEBM)


def write_mov(video: Path, target: Path) -> None:
    """Write a video as ProRes 422 and PCM."""
    _convert(video, target, MOV)


def write_gif(video: Path, target: Path) -> None:
    """Write a video as a GIF that repeats, with a palette of its own. Its sides have at most GIF_SIDE_PX."""
    with av.open(str(video)) as source, av.open(str(target), "w", format="gif") as result:
        stream: VideoStream | None = None
        for frame in _in_palette(source):
            if stream is None:
                stream = result.add_stream("gif", rate=GIF_RATE)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "pal8"
            result.mux(stream.encode(frame))
        if stream is not None:
            result.mux(stream.encode(None))


def _convert(video: Path, target: Path, wanted: Format) -> None:
    """Decode both streams together, as they lie in the file, and encode them again."""
    with av.open(str(video)) as source, av.open(str(target), "w", format=wanted.name) as result:
        image, audio = source.streams.video[0], next(iter(source.streams.audio), None)
        image.thread_count = DECODER_THREADS
        to_image = _add_video(result, image, wanted)
        to_audio = None if audio is None else _add_audio(result, audio, wanted)
        for frame in source.decode([each for each in (image, audio) if each is not None]):
            if isinstance(frame, VideoFrame):
                result.mux(to_image.encode(_to_format(frame, wanted)))
            elif isinstance(frame, AudioFrame) and to_audio is not None:
                kept = _until_the_end(frame, image)
                result.mux([] if kept is None else to_audio.encode(kept))
        result.mux(to_image.encode(None))
        result.mux([] if to_audio is None else to_audio.encode(None))


def _add_video(result: OutputContainer, image: VideoStream, wanted: Format) -> VideoStream:
    stream = cast(VideoStream, result.add_stream(wanted.video, image.average_rate, options=dict(wanted.options)))
    stream.width, stream.height, stream.pix_fmt = image.width, image.height, wanted.pixel_format
    context = stream.codec_context
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    return stream


def _add_audio(result: OutputContainer, audio: AudioStream, wanted: Format) -> AudioStream:
    stream = cast(AudioStream, result.add_stream(wanted.audio, audio.rate))
    stream.layout = audio.layout
    return stream


def _to_format(frame: VideoFrame, wanted: Format) -> VideoFrame:
    """Only the sampling of the colors changes: the colors stay BT.709 in limited range."""
    return frame.reformat(
        format=wanted.pixel_format,
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )


def _until_the_end(frame: AudioFrame, image: VideoStream) -> AudioFrame | None:
    """The part of an audio frame that the video has. AAC fills its last packet with silence."""
    end_s = Fraction(image.duration or 0) * Fraction(image.time_base or 0)
    left = round((end_s - (frame.pts or 0) * Fraction(frame.time_base or 0)) * frame.sample_rate)
    if left <= 0:
        return None
    if left >= frame.samples:
        return frame
    samples = np.ascontiguousarray(frame.to_ndarray()[:, :left], np.float32)  # AAC is decoded to planes of float32
    kept = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    kept.sample_rate, kept.pts, kept.time_base = frame.sample_rate, frame.pts, frame.time_base
    return kept


def _in_palette(source: InputContainer) -> Iterator[VideoFrame]:
    """The frames at GIF_RATE, small, in one palette for all of them. Holds them in memory until all are read."""
    image = source.streams.video[0]
    image.thread_count = DECODER_THREADS
    graph = _palette_graph(image)
    for frame in source.decode(image):
        graph.push(frame)
    graph.push(None)
    while True:
        try:
            yield graph.vpull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return


def _palette_graph(image: VideoStream) -> Graph:
    graph = Graph()
    width, height = fit_within(GIF_SIDE_PX, image.width, image.height)
    split = graph.add("split")
    graph.link_nodes(
        graph.add_buffer(template=image),
        graph.add("fps", f"fps={GIF_RATE}"),
        graph.add("scale", f"w={width}:h={height}:flags=area:in_color_matrix=bt709:in_range=limited"),
        graph.add("format", "pix_fmts=rgb24"),
        split,
    )
    palette, use = graph.add("palettegen"), graph.add("paletteuse", "dither=bayer:bayer_scale=4")
    split.link_to(palette)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph
