"""What each speed-up gains, beside diffusers as it comes, in one run on one device.

    python -m benchmarks.gpu                                  random weights of full size, on a GPU of 80 GB
    python -m benchmarks.gpu --model FOLDER                   a checkpoint that diffusers saved
    python -m benchmarks.gpu --tiny                           the tiny model, on a CPU too: tries the benchmark itself

For each option: seconds a step, of a whole task of 40 steps (steps, and one decode), peak memory, the share of the
measured matrix rate that the work of plain diffusers makes of that time, and the difference of the latents to plain
diffusers. `unguided` and `float8` are what `quality: fast` is made of: it takes the first for half of its steps. Then
the decoder, whole and in tiles, the text, which a known prompt does without, the weights' way to host memory and back
(sleep and wake), and a profile of two steps. Writes a table, --json with the same, and --profile-file. Needs torch,
diffusers and transformers; neither Ray nor a network.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_measure import (
    GB,
    Denoised,
    Shape,
    count_tflop_a_step,
    decode,
    denoise,
    difference,
    gemm_tflops,
    timed,
    write_profile,
)
from benchmarks.gpu_subject import Subject, open_subject
from models.fast.fp8 import MIN_WEIGHTS, Fp8Linears
from models.fast.interval import GuidanceInterval
from models.speedup_choice import LESS_WORK, Speedup
from models.speedups import forget, install
from models.tiling import use_tiles
from models.transfer import to_device, to_host, weights_of

TASK_STEPS = 40
TINY_WEIGHTS = 256
"""Layers of the tiny model that stand for large ones."""
PLAIN = "diffusers"
FULL = Shape(512, 768, 121, steps=5)
SMALL = Shape(64, 128, 9, steps=3)
COLUMNS = ("option", "step_s", "task_s", "faster", "peak_gb", "gemm_share", "difference")


def options(device: str) -> dict[str, tuple[Speedup, ...]]:
    """Each speed-up alone, then those of `auto`, then all that this device has."""
    alone = {str(name): (name,) for name in LESS_WORK}
    together: dict[str, tuple[Speedup, ...]] = {"auto": LESS_WORK}
    if device == "cuda":
        alone |= {str(name): (name,) for name in (Speedup.CUDNN, Speedup.COMPILE)}
        together["auto + cudnn"] = (*LESS_WORK, Speedup.CUDNN)
        together["auto + compile"] = (*LESS_WORK, Speedup.COMPILE)
        together["all"] = tuple(Speedup)
    return {**alone, **together}


def measure_options(subject: Subject, shape: Shape, gemm: float) -> tuple[list[dict[str, Any]], Denoised]:
    """A row for diffusers as it comes, and one for each option."""
    tflop = count_tflop_a_step(subject, shape)
    reference = denoise(subject, shape)
    rows = [_row(PLAIN, reference, reference, tflop, gemm)]
    for name, speedups in options(subject.device).items():
        twin = subject.with_twin()
        install(twin.pipe.transformer, speedups, subject.stg_blocks)
        denoise(twin, Shape(shape.height, shape.width, shape.num_frames, steps=2))  # warms up, compiles
        rows.append(_row(name, denoise(twin, shape), reference, tflop, gemm))
        forget(twin.pipe.transformer)
    return rows, reference


def measure_fast(subject: Subject, shape: Shape, gemm: float, reference: Denoised) -> list[dict[str, Any]]:
    """A row for each way of `quality: fast`, on top of the speed-ups of `auto`."""
    tflop = count_tflop_a_step(subject, shape)
    twin = subject.with_twin()
    transformer = twin.pipe.transformer
    interval = GuidanceInterval(transformer)
    install(transformer, LESS_WORK, twin.stg_blocks)
    linears = Fp8Linears(transformer, MIN_WEIGHTS if subject.device == "cuda" else TINY_WEIGHTS)
    ways = {"unguided": interval.only(0), "float8": linears.on()}
    rows = []
    for name, way in ways.items():
        with way:
            denoise(twin, Shape(shape.height, shape.width, shape.num_frames, steps=2))
            rows.append(_row(f"fast: {name}", denoise(twin, shape), reference, tflop, gemm))
        forget(transformer)
    return rows


def measure_moves(subject: Subject) -> dict[str, dict[str, float]]:
    """The transformer's weights to host memory and back: what a sleep and a wake take."""
    device = subject.pipe.transformer.device
    weights = weights_of([subject.pipe.transformer])
    gb = sum(weight.nbytes for weight in weights) / GB
    away = timed(lambda: to_host(weights, lambda: False), subject.device)
    back = timed(lambda: to_device(weights, device), subject.device)
    return {name: {"seconds": seconds, "gb_s": gb / seconds} for name, seconds in (("sleep", away), ("wake", back))}


def measure_text(subject: Subject) -> float | None:
    """Seconds until the transformer has its text, which a known prompt does without. None without an encoder."""
    pipe = subject.pipe
    if pipe.text_encoder is None:
        return None

    def encode() -> None:
        embeddings, mask, *_ = pipe.encode_prompt(subject.call["prompt"], subject.call["negative_prompt"])
        pipe.connectors(embeddings, mask)

    with torch.no_grad():
        encode()
        return timed(encode, subject.device)


def _row(name: str, done: Denoised, reference: Denoised, tflop: float, gemm: float) -> dict[str, Any]:
    return {
        "option": name,
        "step_s": done.step_s,
        "faster": reference.step_s / done.step_s,
        "peak_gb": done.peak_gb,
        "gemm_share": tflop / done.step_s / gemm,
        "difference": difference(done, reference),
    }


def measure_decoding(subject: Subject, shape: Shape, latents: torch.Tensor) -> dict[str, dict[str, float]]:
    """The decoder, whole and in tiles. The first run warms up."""
    vae = subject.pipe.vae
    vae.disable_tiling()
    decode(subject, latents)
    whole = decode(subject, latents)
    use_tiles(vae, shape.height, shape.width)
    tiled = decode(subject, latents)
    vae.disable_tiling()
    return {
        name: dict(zip(("seconds", "peak_gb"), got, strict=True)) for name, got in (("whole", whole), ("tiled", tiled))
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all of it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = SMALL if arguments.tiny else FULL
    subject = open_subject("tiny" if arguments.tiny else arguments.model, device)
    subject.pipe.set_progress_bar_config(disable=True)
    gemm = gemm_tflops(device, 512 if arguments.tiny else 8192)
    rows, reference = measure_options(subject, shape, gemm)
    rows += measure_fast(subject, shape, gemm, reference)
    decoding = measure_decoding(subject, shape, reference.video)
    for row in rows:
        row["task_s"] = TASK_STEPS * row["step_s"] + decoding["whole"]["seconds"]
    if arguments.profile_file:
        write_profile(subject, shape, arguments.profile_file)
    text_s = measure_text(subject)
    moves = measure_moves(subject)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU",
        "torch": torch.__version__,
        "model": subject.name,
        "shape": vars(shape),
        "gemm_tflops": gemm,
        "options": rows,
        "decode": decoding,
        "text_s": text_s,
        "moves": moves,
    }


def print_table(result: dict[str, Any]) -> None:
    """The figures for a person."""
    print(f"{result['model']} on {result['device']}, torch {result['torch']}, {result['shape']}")
    print(f"matrix rate {result['gemm_tflops']:.1f} TFLOP/s")
    print("".join(f"{column:>16}" for column in COLUMNS))
    for row in result["options"]:
        print("".join(f"{row[c]:>16}" if isinstance(row[c], str) else f"{row[c]:>16.4g}" for c in COLUMNS))
    for name, figures in result["decode"].items():
        print(f"decode {name}: {figures['seconds']:.3f} s, peak {figures['peak_gb']:.1f} GB")

    if result["text_s"] is not None:
        print(f"text: {result['text_s']:.3f} s, or none for a known prompt")
    for name, figures in result["moves"].items():
        print(f"{name}, the transformer: {figures['seconds']:.3f} s, {figures['gb_s']:.1f} GB/s")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random", help="random, or a folder that diffusers saved")
    parser.add_argument("--tiny", action="store_true", help="the tiny model at a small size")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--profile-file", type=Path, help="where a profile of two steps goes")
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device: --tiny tries the benchmark itself on a CPU")
    result = run(arguments)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
