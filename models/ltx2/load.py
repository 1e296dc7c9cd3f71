"""Loads a checkpoint's components into a diffusers pipeline."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.checkpoint.files import INDEX, OF_TRANSFORMERS, OPTIONAL_COMPONENTS
from models.checkpoint.profile import CheckpointProfile
from models.checkpoint.sizes import measure_sizes
from models.checkpoint.validate import check_tensor_names, raise_if_missing, read_object
from models.errors import ModelBroken, ModelUnavailable, VideoError
from models.fixes import ALL as ALL_FIXES
from models.fixes import Fix
from models.fixes.vocoder import VOCODER, load_vocoder, run_in_float32
from models.lora.files import LoraFile
from models.ltx2.options import LoadOptions
from models.ltx2.stage_parts import StageParts
from models.ltx2.text_encoding import drop_head
from models.memory import offload, offload_plan
from models.memory.driver import find_old_driver
from models.memory.estimate import TEXT_KEYS_BYTES
from models.memory.gpu import (
    clear_traceback_frames,
    collect_and_empty_cache,
    empty_cuda_cache,
    free_pinned_memory,
    is_out_of_memory,
)
from models.memory.host import free_host_bytes
from models.optimizations import selection
from models.optimizations.selection import Optimization

if TYPE_CHECKING:
    from models.lora.weights import LoraWeights

DEVICES = ("cpu", "cuda")


def check_device(device: str) -> None:
    """Raise ModelUnavailable if `device` is unknown or not available."""
    if device not in DEVICES:
        raise ModelUnavailable(f"device must be one of {', '.join(DEVICES)}; {device!r} was given")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            reason = find_old_driver() or "torch finds no NVIDIA GPU with a working driver"
            raise ModelUnavailable(f"device is cuda, but {reason}")


def choose_placement(
    folder: Path,
    profile: CheckpointProfile,
    device: str,
    options: LoadOptions,
    *,
    loras: Sequence[LoraFile] = (),
    parts: StageParts = StageParts(),  # noqa: B008  # frozen
) -> offload_plan.Placement:
    """Plan where components and LoRAs go, from the memory that is free now. Raises ModelUnavailable if nothing fits.

    Memory that an earlier, failed load still holds is freed first.
    """
    if device == "cuda":
        if options.text_encoder_dtype is offload_plan.TextEncoderDtype.NF4:
            from models.quantization.nf4 import import_bitsandbytes  # imports torch

            import_bitsandbytes()
        collect_and_empty_cache()
        free_pinned_memory()
    dtype, refining = _dtype(profile, device), parts.distilled_lora
    sizes = replace(
        measure_sizes(folder, dtype, parts.upsampler),
        loras={each.name: each.size_bytes(dtype) for each in loras},
        distilled_lora=0 if refining is None else refining.size_bytes(dtype),
    )
    host_bytes = max(0, free_host_bytes() - options.prompt_cache_bytes)
    if device == "cpu":
        return offload_plan.plan_cpu(host_bytes, sizes, _dtype(profile, device))
    return offload_plan.plan(
        offload.free_vram_bytes(),
        host_bytes,
        sizes,
        place=options.offload,
        weights=options.weight_dtype,
        text_weights=options.text_encoder_dtype,
        card_bytes=offload.card_bytes(),
    )


def _dtype(profile: CheckpointProfile, device: str) -> str:
    """The dtype for the weights: bfloat16, but float32 for the tiny model on a CPU, where float32 is faster."""
    return "float32" if profile.tiny and device == "cpu" else "bfloat16"


def load_pipeline(folder: Path, profile: CheckpointProfile, device: str, fixes: Collection[Fix] = ALL_FIXES) -> Any:
    """Read all components into host memory and install `fixes` on them."""
    import torch
    from diffusers import LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from models.fixes.install import install as install_fixes

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    dtype: torch.dtype = getattr(torch, _dtype(profile, device))
    how: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    transformer = LTX2VideoTransformer3DModel.from_pretrained(
        folder, subfolder="transformer", perturbed_attn=profile.perturbed_attn, **how
    )
    own_dtype = {VOCODER: load_vocoder(folder, how)} if Fix.VOCODER in fixes and run_in_float32(folder) else {}
    pipe = LTX2Pipeline.from_pretrained(
        folder,
        transformer=transformer,
        text_encoder=_load_text_encoder(folder, how),
        **own_dtype,
        **how,
        **dict.fromkeys(OPTIONAL_COMPONENTS),
    )
    _check_loaded(folder, pipe)
    install_fixes(pipe, fixes, distilled=profile.sigmas is not None)
    return pipe


def load_loras(
    pipe: Any, files: Sequence[LoraFile], profile: CheckpointProfile, device: str
) -> "dict[str, LoraWeights]":
    """Read all LoRAs into host memory. Raises LoraUnusable for one that does not fit the transformer."""
    import torch

    from models.lora.weights import load_lora

    dtype: torch.dtype = getattr(torch, _dtype(profile, device))
    return {each.name: load_lora(each, pipe.transformer, dtype) for each in files}


def load_distilled_lora(
    pipe: Any, file: LoraFile | None, profile: CheckpointProfile, device: str
) -> "LoraWeights | None":
    """Read the LoRA of a base model's second stage into host memory, if there is one. Raises LoraUnusable."""
    return None if file is None else load_loras(pipe, [file], profile, device)[file.name]


def load_upsampler(folder: Path, vae: Any) -> Any:
    """Read the latent upsampler in `folder` into host memory, for the latents of `vae`.

    Raises ModelUnavailable if it is made for latents of another VAE.
    """
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel

    upsampler = LTX2LatentUpsamplerModel.from_pretrained(
        folder, dtype=vae.dtype, use_safetensors=True, local_files_only=True
    )
    check_tensor_names(folder.parent, folder.name, upsampler.state_dict())
    if (channels := upsampler.config.in_channels) != vae.config.latent_channels:
        raise ModelUnavailable(
            f"the latent upsampler in {folder} does not fit the model: it doubles latents of {channels} channels, and "
            f"the model's have {vae.config.latent_channels}"
        )
    return upsampler


def _load_text_encoder(folder: Path, how: Mapping[str, Any]) -> Any:
    """Load the text encoder with the class that the index names. Weights of its vision tower may be missing."""
    import transformers

    kind = getattr(transformers, read_object(folder / INDEX)[OF_TRANSFORMERS][1])
    text_encoder, told = kind.from_pretrained(folder / OF_TRANSFORMERS, output_loading_info=True, **how)
    raise_if_missing(folder, OF_TRANSFORMERS, (name for name in told["missing_keys"] if "language_model" in name))
    drop_head(text_encoder)
    return text_encoder


def _check_loaded(folder: Path, pipe: Any) -> None:
    """Check that diffusers found all weights. It leaves missing weights uninitialized, without an error."""
    import torch

    for name, component in pipe.components.items():
        if name != OF_TRANSFORMERS and isinstance(component, torch.nn.Module):
            check_tensor_names(folder, name, component.state_dict())


def choose_optimizations(placed: offload_plan.Placement, device: str, options: LoadOptions) -> tuple[Optimization, ...]:
    """Resolve the operator's choice of optimizations for a model with placement `placed`.

    `auto` uses no memory that a render of the usual size needs.
    """
    room_bytes = measure_free_vram(placed, ())
    roomy = room_bytes is None or room_bytes >= offload_plan.RESERVED_VRAM_BYTES + TEXT_KEYS_BYTES
    streamed = placed.mode is offload_plan.OffloadMode.BLOCK
    return selection.choose_optimizations(options.optimizations, device, streamed=streamed, roomy=roomy)


def measure_free_vram(placed: offload_plan.Placement, kept: Collection[Optimization]) -> int | None:
    """GPU memory in bytes that a render may use from now on. None on a CPU, where there is no such limit."""
    if placed.mode is offload_plan.OffloadMode.CPU:
        return None
    empty_cuda_cache()
    kept_bytes = TEXT_KEYS_BYTES if Optimization.TEXT_KV_CACHE in kept else 0
    return max(0, offload.free_vram_bytes() - placed.stream_buffer_bytes - placed.lora_bytes - kept_bytes)


@contextlib.contextmanager
def translate_load_errors(model: str) -> Iterator[None]:
    """Raise ModelUnavailable for any error while the weights are read: files can be damaged in many ways.

    diffusers and transformers raise ValueError for weights that do not match their config; it becomes ModelBroken.
    """
    try:
        yield
    except VideoError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            clear_traceback_frames(exc)
            raise ModelUnavailable(f"there is not enough memory to load {model}: {exc}") from exc
        if isinstance(exc, PermissionError):
            raise ModelUnavailable(f"this user has no permission to read {model}: {exc}") from exc
        kind = ModelBroken if isinstance(exc, ValueError) else ModelUnavailable
        raise kind(
            f"{model} could not be loaded, its files may be broken or incomplete: {type(exc).__name__}: {exc}"
        ) from exc
