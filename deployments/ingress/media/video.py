"""Writes a client's video as the lossless Matroska file that a task keeps: of constant rate, with its audio."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
from av import AudioFrame, VideoFrame
from av import open as open_container
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from deployments.ingress.dimensions import fit_size
from deployments.ingress.media.colors import HDR_CURVES, ColorMap, is_mapped
from deployments.ingress.media.edges import EdgeTracer
from deployments.ingress.media.geometry import FrameFitter, Planes
from deployments.ingress.media.jobs import VIDEO_FILE, ClipBounds, ClipFacts, ClipJob
from deployments.ingress.media.opening import VIDEO_FORMATS, open_media
from deployments.ingress.media.samples import Samples, decode_samples, kept_channels, kept_rate_hz, take_samples
from deployments.ingress.media.timing import Timing, exact, measure
from models.errors import InvalidRequest
from models.request.json_words import Described
from models.request.request import spell_number

VIDEO = "video"
"""The field of a video."""
THREADS = 2
ANGLE = 90
FLAC_BLOCK = 4096


def write_clip(job: ClipJob) -> ClipFacts:
    """Write the clip, and return what it is. Raises InvalidRequest."""
    with open_media(job.source, VIDEO_FORMATS, VIDEO, VIDEO_FILE) as container:
        timing = _measure(container, job.bounds)
    with open_media(job.source, VIDEO_FORMATS, VIDEO, VIDEO_FILE) as container:
        has_audio, samples = bool(container.streams.audio) and not job.is_control, None
        if has_audio:
            samples = _read_samples(container, timing), kept_rate_hz(container.streams.audio[0])
    with open_media(job.source, VIDEO_FORMATS, VIDEO, VIDEO_FILE) as container, _open_target(job) as target:
        stream = _video_of(container)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is None:
            raise InvalidRequest(VIDEO, Described("a file without a whole frame"), VIDEO_FILE)
        fitter = _fitter_for(first, stream, timing, job.bounds)
        written = fitter.divided(job.divisor)
        if is_mapped(first):
            written = replace(written, colors=_color_map(first, written, job))
        tracer = EdgeTracer(written.width, written.height) if job.edges else None
        planes = _planes(_constant(itertools.chain((first,), frames), timing), written, tracer)
        _write(target, planes, written, timing, samples)
    return ClipFacts(
        fitter.width,
        fitter.height,
        timing.frame_rate,
        timing.num_frames,
        has_audio,
        fitter.source_width,
        fitter.source_height,
        timing.source_rate,
        first.color_trc in HDR_CURVES,
    )


def _video_of(container: InputContainer) -> VideoStream:
    """The first stream of video. A cover image is none. Raises InvalidRequest."""
    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not streams:
        raise InvalidRequest(VIDEO, Described("a file without video"), VIDEO_FILE)
    stream = streams[0]
    stream.thread_count = THREADS
    stream.thread_type = "AUTO"
    return stream


def _measure(container: InputContainer, bounds: ClipBounds) -> Timing:
    """The timing of the video. Reads packets no further than the bounds. Raises InvalidRequest."""
    stream = _video_of(container)
    pixels = stream.width * stream.height
    if not 0 < pixels <= bounds.most_source_pixels:
        given = Described(f"a video of {stream.width}x{stream.height}")
        raise InvalidRequest(VIDEO, given, f"a video of at most {bounds.most_source_pixels} pixels a frame")
    timing = measure(_times(container, stream, bounds), bounds.least_rate, bounds.most_rate)
    if timing is None:
        raise InvalidRequest(VIDEO, Described("a file without a frame"), VIDEO_FILE)
    length_s = timing.num_frames / exact(timing.frame_rate)
    if length_s > bounds.most_s:
        raise InvalidRequest(VIDEO, Described(f"a video of {_shown(length_s)} s"), _at_most(bounds.most_s))
    return timing


def _times(container: InputContainer, stream: VideoStream, bounds: ClipBounds) -> Iterator[Fraction]:
    """When each frame is shown. Raises InvalidRequest for far more of them than the bounds allow."""
    most = 4 * int(bounds.most_s * bounds.most_rate) + 1
    for count, packet in enumerate(container.demux(stream)):
        if packet.pts is None or packet.time_base is None or packet.is_discard:
            continue
        if count > most:
            raise InvalidRequest(VIDEO, Described("a video with more frames"), _at_most(bounds.most_s))
        yield packet.pts * packet.time_base


def _at_most(seconds: float | Fraction) -> str:
    return f"a video of at most {_shown(seconds)} s"


def _shown(seconds: float | Fraction) -> str:
    return spell_number(int(seconds * 100) / 100)


def _read_samples(container: InputContainer, timing: Timing) -> Samples:
    """The audio, from the first frame on, exactly as long as the video."""
    stream = container.streams.audio[0]
    count = round(timing.num_frames / exact(timing.frame_rate) * kept_rate_hz(stream))
    return take_samples(decode_samples(container, stream, timing.start_s), count, kept_channels(stream))


def _open_target(job: ClipJob) -> OutputContainer:
    return open_container(str(job.target), "w", format="matroska")


def _fitter_for(first: VideoFrame, stream: VideoStream, timing: Timing, bounds: ClipBounds) -> FrameFitter:
    """How frames like the first one are brought to the size of the clip."""
    turns = round(first.rotation / ANGLE) % 4
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(first.width * (aspect if 0 < aspect < MAX_ASPECT else 1))), first.height
    if turns % 2:
        width, height = height, width
    size = fit_size(
        width,
        height,
        timing.num_frames + round(bounds.added_s * timing.frame_rate),
        most_side_px=bounds.most_side_px,
        most_total_pixels=bounds.most_total_pixels,
        multiple=bounds.side_multiple,
    )
    return FrameFitter(*size, width, height, turns)


def _color_map(first: VideoFrame, fitter: FrameFitter, job: ClipJob) -> ColorMap:
    """How the colors of frames like the first one become those of BT.709."""
    return ColorMap(first.color_trc, first.color_primaries, *fitter.unturned_size, job.target.parent)


MAX_ASPECT = 8
"""A pixel is not wider than this: what a damaged file says is not believed."""


def _constant(frames: Iterator[VideoFrame], timing: Timing) -> Iterator[VideoFrame]:
    """Exactly `timing.num_frames` frames at a constant rate: some are left out, others are shown again."""
    held, made = None, 0
    for frame in frames:
        if frame.pts is None or frame.time_base is None:
            continue
        at = min(timing.frame_at(frame.pts * frame.time_base), timing.num_frames)
        while held is not None and made < at:
            yield held
            made += 1
        held = frame
    while held is not None and made < timing.num_frames:
        yield held
        made += 1


def _planes(frames: Iterator[VideoFrame], fitter: FrameFitter, tracer: EdgeTracer | None) -> Iterator[Planes]:
    """The frames as they are written."""
    for frame in frames:
        planes = fitter.fit(frame)
        yield planes if tracer is None else tracer.trace(planes)


def _write(
    target: OutputContainer,
    frames: Iterator[Planes],
    fitter: FrameFitter,
    timing: Timing,
    samples: tuple[Samples, int] | None,
) -> None:
    video = _add_video(target, fitter, exact(timing.frame_rate))
    if samples is not None:
        audio = target.add_stream("flac", samples[1], layout="mono" if len(samples[0]) == 1 else "stereo")
        _write_audio(target, audio, *samples)
    for number, frame in enumerate(frames):
        fitted = VideoFrame.from_ndarray(frame, "yuv420p")
        fitted.pts = number
        fitted.time_base = 1 / exact(timing.frame_rate)
        target.mux(video.encode(fitted))
    target.mux(video.encode())


def _add_video(target: OutputContainer, fitter: FrameFitter, rate: Fraction) -> VideoStream:
    stream = target.add_stream("libx264", rate, options={"qp": "0", "preset": "ultrafast", "threads": str(THREADS)})
    stream.width, stream.height, stream.pix_fmt = fitter.width, fitter.height, "yuv420p"
    context = stream.codec_context
    context.colorspace = Colorspace.ITU709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.color_range = ColorRange.MPEG
    return stream


def _write_audio(target: OutputContainer, stream: AudioStream, samples: Samples, rate_hz: int) -> None:
    """Write FLAC with 24 bits a sample."""
    stream.codec_context.format = "s32"
    whole = np.round(samples.astype(np.float64) * (2**23 - 1)).astype(np.int32) * 256
    for start in range(0, whole.shape[1], FLAC_BLOCK):
        packed = np.ascontiguousarray(whole[:, start : start + FLAC_BLOCK].T).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, "s32", stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        target.mux(stream.encode(frame))
    target.mux(stream.encode())
