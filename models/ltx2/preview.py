"""Makes previews: decodes one frame of what the sampler would end with now.

The sampler's own estimate of the clean latents is used. All three pipelines of diffusers compute it before each step
of every sampler, and pass it to `convert_x0_to_velocity`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.conditions import Conditions
from models.errors import GpuOutOfMemory
from models.ltx2.decode import to_bytes
from models.ltx2.tokens import given_latent_frames
from models.memory.estimate import decode_bytes
from models.memory.gpu import clear_traceback_frames, collect_and_empty_cache, is_out_of_memory
from models.memory.offload import usable_vram_bytes
from models.preview import Preview, PreviewBudget, PreviewCost, PreviewOptions
from models.request.places import FIRST, WHOLE
from models.request.request import FRAMES_PER_LATENT, PIXELS_PER_LATENT, VideoRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

MAX_SIDE_PX = 256
UNPACKED_NDIM = 5


@dataclass(frozen=True)
class LatentWindow:
    """The latent frames that a preview decodes, of a video of `height` by `width` latents. It shows the last frame."""

    first: int
    count: int
    height: int
    width: int

    @property
    def tokens(self) -> slice:
        """Its tokens among those of a video."""
        per_frame = self.height * self.width
        return slice(self.first * per_frame, (self.first + self.count) * per_frame)

    @property
    def num_frames(self) -> int:
        """The frames that it decodes to."""
        return (self.count - 1) * FRAMES_PER_LATENT + 1

    @property
    def pixels(self) -> int:
        """The pixels that it decodes to."""
        return self.num_frames * self.height * self.width * PIXELS_PER_LATENT**2


def choose_window(request: VideoRequest, conditions: Conditions) -> LatentWindow | None:
    """The first latent frame that is made, with the one before it if there is one. None if all frames are given.

    A later latent frame holds eight frames, which differ from the ones before. Decoded alone, it would be read as one
    frame.
    """
    number = _first_made(request, conditions)
    if number is None:
        return None
    first = max(0, number - 1)
    rows, columns = request.height // PIXELS_PER_LATENT, request.width // PIXELS_PER_LATENT
    return LatentWindow(first, number - first + 1, rows, columns)


def _first_made(request: VideoRequest, conditions: Conditions) -> int | None:
    count = (request.num_rendered_frames - 1) // FRAMES_PER_LATENT + 1
    given = [False] * count
    if conditions.clip is not None:
        given = given_latent_frames(conditions.clip.edit, request.num_rendered_frames)
    if any(each.place.frame == FIRST and each.place.strength == WHOLE for each in conditions.images):
        given[0] = True
    return next((number for number, known in enumerate(given) if not known), None)


@dataclass(frozen=True)
class _Step:
    """The latents before a step, and the clean ones that the sampler expects: tokens, or (1, C, T, H, W)."""

    noisy: "torch.Tensor"
    clean: "torch.Tensor"


class Previewer:
    """Makes the previews of one render. It never raises: after an error, the render has no further previews."""

    def __init__(self, pipe: Any, window: LatentWindow, budget: PreviewBudget, options: PreviewOptions) -> None:
        self._pipe = pipe
        self._window = window
        self._budget = budget
        self._options = options
        self._step: _Step | None = None
        self._works = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the clean latents of each step while the pipeline runs."""
        convert = self._pipe.convert_x0_to_velocity

        def keep(sample: "torch.Tensor", clean: "torch.Tensor", step: int, scheduler: Any = None) -> Any:
            if scheduler is self._pipe.scheduler:
                self._step = _Step(sample, clean)
            return convert(sample, clean, step, scheduler)

        self._pipe.convert_x0_to_velocity = keep
        try:
            yield
        finally:
            del self._pipe.convert_x0_to_velocity
            self._step = None

    def after_step(self, number: int) -> None:
        """Make a preview if one is due after `number` steps."""
        if not self._works or self._step is None or not self._budget.is_due(number):
            return
        try:
            self._make(self._step, number)
        except Exception as exc:  # whatever a preview meets, the render goes on
            self._works = False
            self._options.failed(exc)
            if is_out_of_memory(exc):
                clear_traceback_frames(exc)
                collect_and_empty_cache()

    def _make(self, step: _Step, number: int) -> None:
        if step.clean.is_cuda:
            _wait_for_gpu()
            _check_memory(self._window)
        started = time.monotonic()
        frame = _decode(self._pipe, step, self._window)
        seconds = time.monotonic() - started
        self._budget.record(seconds)
        self._options.show(Preview(frame, number, seconds))


def make_previewer(
    pipe: Any, request: VideoRequest, conditions: Conditions, options: PreviewOptions, cost: PreviewCost
) -> Previewer | None:
    """The previewer of one render; None if all of its frames are given."""
    window = choose_window(request, conditions)
    if window is None:
        return None
    budget = PreviewBudget(request.num_inference_steps, window.pixels, options.max_fraction, cost)
    return Previewer(pipe, window, budget, options)


def _wait_for_gpu() -> None:
    """Wait until the GPU has finished the step, so that its time does not count as the preview's."""
    import torch

    torch.cuda.synchronize()


def _check_memory(window: LatentWindow) -> None:
    """Raise GpuOutOfMemory if decoding does not fit on the GPU beside what the render holds."""
    height, width = window.height * PIXELS_PER_LATENT, window.width * PIXELS_PER_LATENT
    if decode_bytes(height, width, window.num_frames) > usable_vram_bytes():
        raise GpuOutOfMemory("the GPU has no memory for a preview beside the render")


def _decode(pipe: Any, step: _Step, window: LatentWindow) -> "npt.NDArray[np.uint8]":
    """The last frame of the window, RGB (H, W, 3), made small on its device."""
    import torch

    vae = pipe.vae
    with torch.no_grad():
        latents = pipe._denormalize_latents(  # noqa: SLF001  # as the pipeline itself does at its end
            _cut(step, window), vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        ).to(vae.dtype)
        timestep = latents.new_zeros(1) if vae.config.timestep_conditioning else None
        video = vae.decode(latents, timestep, return_dict=False)[0]
        frame = _shrink(video[:, :, -1].float())
    shown: npt.NDArray[np.uint8] = to_bytes(frame.movedim(0, 1), 1)[0]
    return shown


def _cut(step: _Step, window: LatentWindow) -> "torch.Tensor":
    """The latents of the window (1, C, T', H', W').

    Image-to-video has them unpacked. Its sampler leaves out the first latent frame, which is given.
    """
    import torch

    if step.clean.ndim == UNPACKED_NDIM:
        whole = torch.cat([step.noisy[:, :, :1], step.clean[:, :, 1 : window.first + window.count]], dim=2)
        return whole[:, :, window.first :]
    tokens = step.clean[:, window.tokens]
    return tokens.reshape(len(tokens), window.count, window.height, window.width, -1).movedim(-1, 1)


def _shrink(frames: "torch.Tensor") -> "torch.Tensor":
    """Bring frames (N, 3, H, W) to at most MAX_SIDE_PX a side. Averages the pixels, so that none is left out."""
    import torch

    height, width = frames.shape[-2:]
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return frames if scale == 1 else torch.nn.functional.interpolate(frames, size, mode="area")
