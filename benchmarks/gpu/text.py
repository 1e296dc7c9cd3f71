"""Measures the text encoder on the GPU, in 4 bits, and streamed, pinned or not: seconds, memory, difference."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import LTX2Pipeline

from benchmarks.full_size import GEMMA_3_12B, SEED, draw_text_encoder
from benchmarks.gpu.measure import forget_peak, peaks_gb, timed
from benchmarks.gpu.model_under_test import RANDOM, Source, prompts
from benchmarks.gpu.table_rows import Row, tried
from models.checkpoint.tiny import TEXT_ENCODER as TINY_TEXT_ENCODER
from models.checkpoint.tiny import byte_tokenizer
from models.ltx2.text_encoding import OnePassTextEncoder
from models.memory import offload
from models.memory.gpu import collect_and_empty_cache, free_pinned_memory
from models.memory.offload_plan import TEXT_ENCODER
from models.quantization.nf4 import store_in_4_bits

Place = Callable[[Any, torch.device], None]
"""Places a text encoder, which is in host memory, for its use."""


def measure_text(source: Source, device: str) -> Iterator[Row]:
    """A row for each way to hold the text encoder of `source`: one text, the same again, both texts in one pass."""
    reference: torch.Tensor | None = None
    for name, place in WAYS.items():
        if device == "cpu" and name == "passes, pinned":
            continue
        held: list[torch.Tensor] = []
        yield tried(
            {"text encoder": name},
            lambda place=place, held=held, beside=reference: _measure(source, device, place, held, beside),
        )
        reference = held[0] if reference is None and held else reference
        collect_and_empty_cache()
        free_pinned_memory()


def _measure(
    source: Source, device: str, place: Place, held: list[torch.Tensor], reference: torch.Tensor | None
) -> Row:
    pipe = _pipeline(source, device)
    place(pipe.text_encoder, torch.device(device))
    one_pass = OnePassTextEncoder([pipe])
    words = prompts()
    forget_peak(device)

    def read(negative: str | None) -> torch.Tensor:
        with torch.no_grad(), one_pass.expecting(negative):
            embeddings, _ = pipe._get_gemma_prompt_embeds(words["prompt"], device=torch.device(device))  # noqa: SLF001
            return embeddings

    first_s = timed(lambda: held.append(read(None).float().cpu()), device)
    one_s = timed(lambda: read(None), device)
    both_s = timed(lambda: read(words["negative_prompt"]), device)
    peak, reserved = peaks_gb(device)
    apart = 0.0 if reference is None else float((held[0] - reference).norm() / reference.norm())
    return {
        "first_s": first_s,
        "one_s": one_s,
        "both_s": both_s,
        "peak_gb": peak,
        "reserved_gb": reserved,
        "difference": apart,
    }


def _pipeline(source: Source, device: str) -> Any:
    """A pipeline with only a text encoder and a tokenizer. Random weights are created on the device."""
    torch.manual_seed(SEED)  # the same random weights for each way
    parts: dict[str, Any] = dict.fromkeys(("scheduler", "vae", "audio_vae", "connectors", "transformer", "vocoder"))
    if source.model == RANDOM or source.configs is not None:
        config = source.drawn.get("text_encoder", GEMMA_3_12B)
        text_encoder, tokenizer = draw_text_encoder(device, config).to("cpu"), byte_tokenizer()
    elif source.model == "tiny":
        text_encoder, tokenizer = draw_text_encoder(device, TINY_TEXT_ENCODER).to("cpu"), byte_tokenizer()
    else:
        stored = LTX2Pipeline.from_pretrained(source.model, dtype=torch.bfloat16, **parts)
        text_encoder, tokenizer = stored.text_encoder, stored.tokenizer
    return LTX2Pipeline(**parts, text_encoder=text_encoder, tokenizer=tokenizer)


def _stay(text_encoder: Any, device: torch.device) -> None:
    text_encoder.to(device)


def _stay_in_4_bits(text_encoder: Any, device: torch.device) -> None:
    store_in_4_bits(text_encoder, device)
    text_encoder.to(device)


def _pass(text_encoder: Any, device: torch.device) -> None:
    offload.enable_group_offload(TEXT_ENCODER, text_encoder, device)


def _pass_pinned(text_encoder: Any, device: torch.device) -> None:
    if not offload.pin({TEXT_ENCODER: text_encoder}):
        raise MemoryError("host memory has no room to pin it")
    offload.enable_group_offload(TEXT_ENCODER, text_encoder, device)


def _pass_in_4_bits(text_encoder: Any, device: torch.device) -> None:
    store_in_4_bits(text_encoder, device)
    offload.pin({TEXT_ENCODER: text_encoder})
    offload.enable_group_offload(TEXT_ENCODER, text_encoder, device)


WAYS: dict[str, Place] = {
    "resident": _stay,
    "nf4": _stay_in_4_bits,
    "passes": _pass,
    "passes, pinned": _pass_pinned,
    "nf4, passes": _pass_in_4_bits,
}
"""The first one is the reference for the differences."""
