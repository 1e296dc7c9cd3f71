"""Loads a checkpoint's components into a pipeline of diffusers, before any render."""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from models import offload, placement
from models.checkpoint_files import OPTIONAL_COMPONENTS
from models.errors import ModelUnavailable, VideoError
from models.estimate import TEXT_KEYS_BYTES
from models.host_memory import free_host_bytes
from models.memory import drop_locals, free_memory, is_out_of_memory
from models.options import LoadOptions
from models.recipes import Recipe
from models.speedup_choice import Speedup

DEVICES = ("cpu", "cuda")


def let_threads_sleep() -> None:
    """Have torch's CPU threads sleep, not spin, while they wait for each other.

    The encoder and the HTTP side share the processors. Measured on 2 cores with two more busy threads: a small render
    of the tiny model took 15 s spinning, 1.5 s sleeping. OpenMP reads this when torch is first imported; who has set
    it keeps what is set.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def check_device(device: str) -> None:
    """Raise ModelUnavailable for a device that there is not."""
    if device not in DEVICES:
        raise ModelUnavailable(f"device must be one of {', '.join(DEVICES)}; {device!r} was given")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ModelUnavailable("device is cuda, but torch finds no NVIDIA GPU with a working driver")


def choose_placement(folder: Path, recipe: Recipe, device: str, options: LoadOptions) -> placement.Placement:
    """Where the components go, by the memory that is free now. Raises ModelUnavailable where nothing fits.

    What a load before it left behind when it failed does not count as taken.
    """
    free_memory()
    sizes = placement.measure_sizes(folder)
    host_bytes = max(0, free_host_bytes() - options.prompt_cache_bytes)
    if device == "cpu":
        return placement.plan_cpu(host_bytes, sizes, _dtype(recipe, device))
    return placement.plan(
        offload.free_vram_bytes(),
        host_bytes,
        sizes,
        place=options.place,
        weights=options.weights,
        card_bytes=offload.card_bytes(),
    )


def _dtype(recipe: Recipe, device: str) -> str:
    """What weights are read as: bfloat16, but float32 for the tiny model on a CPU, where that is faster."""
    return "float32" if recipe.tiny and device == "cpu" else "bfloat16"


def load_pipeline(folder: Path, recipe: Recipe, device: str) -> Any:
    """Read all components into host memory."""
    import torch
    from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    dtype: torch.dtype = getattr(torch, _dtype(recipe, device))
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder,
        subfolder="transformer",
        perturbed_attn=recipe.perturbed_attn,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
    )
    pipe = LTX2Pipeline.from_pretrained(
        folder,
        transformer=transformer,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        **dict.fromkeys(OPTIONAL_COMPONENTS),
    )
    if recipe.sigmas is not None:
        _keep_sigmas(pipe)
    return pipe


def _keep_sigmas(pipe: Any) -> None:
    """Have the scheduler take noise levels as they are given. That of a base model shifts them, once more."""
    kept = {"use_dynamic_shifting": False, "shift_terminal": None}
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **kept)


def measure_room(placed: placement.Placement, kept: Collection[Speedup]) -> int | None:
    """GPU memory that a render may take from now on, in bytes; None on a CPU, where no card bounds it."""
    if placed.place is placement.Place.CPU:
        return None
    free_memory()
    kept_bytes = TEXT_KEYS_BYTES if Speedup.TEXT_KEYS in kept else 0
    return max(0, offload.free_vram_bytes() - placed.window_bytes - kept_bytes)


@contextlib.contextmanager
def explained_load(model: str) -> Iterator[None]:
    """Whatever goes wrong while the weights are read is a ModelUnavailable: files break in many ways."""
    try:
        yield
    except VideoError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            drop_locals(exc)
            raise ModelUnavailable(f"there is not enough memory to load {model}: {exc}") from exc
        if isinstance(exc, PermissionError):
            raise ModelUnavailable(f"{model} may not be read by this user: {exc}") from exc
        raise ModelUnavailable(
            f"{model} could not be loaded, its files may be broken or incomplete: {type(exc).__name__}: {exc}"
        ) from exc
