"""The options of a render on the processor that benchmarks share, and the request they describe."""

import argparse

from models.request.request import VideoRequest


def add_render_options(parser: argparse.ArgumentParser, *, height: int, width: int, frames: int, steps: int) -> None:
    """Add the model, the threads, and the size of the video (pixels, frames, steps) with these defaults."""
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--height", type=int, default=height)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--steps", type=int, default=steps)


def make_request(given: argparse.Namespace) -> VideoRequest:
    """A prompt that the demo model can draw, with the size of the options."""
    return VideoRequest(
        prompt="a red circle moves left on a blue background, a low tone",
        height=given.height,
        width=given.width,
        num_frames=given.frames,
        num_inference_steps=given.steps,
        seed=1,
    )
