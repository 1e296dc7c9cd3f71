"""Traces the edges of a video's frames: white on black, as IC-LoRAs for edges are trained.

FFmpeg's filter is Canny's algorithm with a blur first. It drops pixels that are not brighter in the gradient than both
neighbors. Two equal ones are a sharp edge between two pixels, so the frames are moved by a quarter of a pixel before.
"""

from typing import Any

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from deployments.ingress.media.geometry import Planes
from models.yuv import CHROMA_ZERO, LUMA_STEPS, LUMA_ZERO

LOW, HIGH = 50, 100
"""Gradients above HIGH are edges, and so are those above LOW beside them. OpenCV's usual 100 and 200, halved: the blur
halves a gradient."""
MAX_LEVEL = 255


class EdgeTracer:
    """Traces the edges of frames of one size, in their order."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = Graph()  # it must live as long as its filters
        size = f"video_size={width}x{height}:pix_fmt=gray:time_base=1/25:pixel_aspect=1/1"
        self._source: Any = self._graph.add("buffer", size)
        thresholds = f"low={LOW / MAX_LEVEL}:high={HIGH / MAX_LEVEL}"
        edges = self._graph.add("edgedetect", f"mode=wires:{thresholds}")
        self._sink: Any = self._graph.add("buffersink")
        self._source.link_to(edges)
        edges.link_to(self._sink)
        self._graph.configure()
        self._height = height

    def trace(self, planes: Planes) -> Planes:
        """The edges in the planes (H * 3 / 2, W) of a frame, as planes."""
        self._source.push(VideoFrame.from_ndarray(_moved(_full_range(planes[: self._height])), "gray"))
        edges = self._sink.pull().to_ndarray() > 0
        traced = np.full_like(planes, CHROMA_ZERO)
        traced[: self._height] = LUMA_ZERO + LUMA_STEPS * edges
        return traced


def _full_range(luma: Planes) -> Planes:
    levels = (luma.astype(np.int32) - LUMA_ZERO) * MAX_LEVEL // LUMA_STEPS
    return levels.clip(0, MAX_LEVEL).astype(np.uint8)


def _moved(levels: Planes) -> Planes:
    """Moved by a quarter of a pixel to the right and down."""
    moved = levels.astype(np.uint16)
    moved[:, 1:] = (3 * moved[:, 1:] + moved[:, :-1] + 2) // 4
    moved[1:] = (3 * moved[1:] + moved[:-1] + 2) // 4
    return moved.astype(np.uint8)
