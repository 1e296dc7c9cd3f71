"""Compares `upscale: 2` with one stage: seconds of each part, and peak memory beside the estimate.

    python -m benchmarks.two_stages --json two_stages.json        random weights of full size, on a GPU of 80 GB
    python -m benchmarks.two_stages --family 2.0                  those of LTX-2
    python -m benchmarks.two_stages --guided                      a base model with a distilled LoRA
    python -m benchmarks.two_stages --model FOLDER                a checkpoint with its latent_upsampler
    python -m benchmarks.two_stages --tiny                        the tiny model, also on a CPU: a dry run

Both ways are rendered in turns in one process, from a text and from an image, after a warm-up of each. A row has the
medians of its rounds, and the ratio of the two totals. Random weights take the time and the memory of real ones. They
say nothing of how the videos look: `--save FOLDER` writes one frame of each way, for real weights.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from benchmarks.full_size import FULL_SIZE, draw, draw_components, draw_text_encoder, pipeline
from benchmarks.gpu.machine import look
from benchmarks.gpu.measure import GB, forget_peak, held_gb, peaks_gb, wait
from benchmarks.gpu.model_under_test import RANDOM, Source, held_sizes, random_name
from benchmarks.memory_leak import ignore
from benchmarks.stage_work import RANK
from models.checkpoint.profile import DISTILLED_SIGMAS, CheckpointType, Family, choose_profile
from models.checkpoint.sizes import BLOCKS
from models.checkpoint.tiny import UPSAMPLER as TINY_UPSAMPLER
from models.checkpoint.tiny import build_tiny
from models.conditions import Conditions, first_frame
from models.fixes import ALL
from models.fixes.install import install as install_fixes
from models.lora.weights import LayerPair
from models.ltx2.load import choose_optimizations
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.memory import offload
from models.memory.estimate import estimate_peak
from models.memory.host import free_host_bytes
from models.memory.offload_plan import UPSAMPLER, plan
from models.progress import Progress, Stage
from models.request.adjustments import apply_adjustments
from models.request.enums import Upscale
from models.request.request import VideoRequest
from models.yuv import to_rgb

SIZES = ((512, 768, 121), (704, 1280, 121), (1088, 1920, 121))
"""Height, width and frames."""
TINY_LORA = "tiny-distilled-lora.safetensors"
TINY_SIZES = ((128, 128, 9),)
PROMPT = "A lighthouse on a cliff in the evening sun; waves break on the rocks, gulls cry."

Row = dict[str, Any]


def draw_lora(transformer: Any) -> dict[str, LayerPair]:
    """A LoRA on all linear layers of the blocks, which changes nothing: it takes the time of a real one."""
    layers = ((name, layer) for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear))
    dtype, found = transformer.dtype, {}
    for name, layer in layers:
        if name.startswith(BLOCKS):
            down, up = torch.zeros(RANK, layer.in_features), torch.zeros(layer.out_features, RANK)
            found[name] = LayerPair(down.to(dtype), up.to(dtype), 1.0)
    return found


def open_tiny(folder: Path, *, guided: bool) -> Ltx2Model:
    """The tiny model, run as a distilled one, or as a base one with a LoRA; with an upsampler of its width."""
    checkpoint = build_tiny(folder)
    LTX2LatentUpsamplerModel(**TINY_UPSAMPLER).save_pretrained(checkpoint / UPSAMPLER)
    if not guided:
        options = LoadOptions(checkpoint_type=CheckpointType.DISTILLED)
        return Ltx2Model.load(str(checkpoint), "cpu", folder, ignore, options)
    pairs = draw_lora(LTX2VideoTransformer3DModel.from_pretrained(checkpoint, subfolder="transformer"))
    tensors = {f"{name}.lora_A.weight": pair.down for name, pair in pairs.items()}
    save_file(tensors | {f"{name}.lora_B.weight": pair.up for name, pair in pairs.items()}, folder / TINY_LORA)
    options = LoadOptions(checkpoint_type=CheckpointType.BASE, distilled_lora=str(folder / TINY_LORA))
    return Ltx2Model.load(str(checkpoint), "cpu", folder, ignore, options)


def open_random(family: Family, device: str, *, guided: bool) -> Ltx2Model:
    """A model of full size with random weights, placed as the server would place it."""
    pipe = pipeline(draw_components(FULL_SIZE[family], device, held="cpu"), draw_text_encoder(device).to("cpu"))
    upsampler = draw(LTX2LatentUpsamplerModel, device, {}).to("cpu")
    install_fixes(pipe, ALL, distilled=not guided)
    lora = draw_lora(pipe.transformer) if guided else None
    sizes = held_sizes(Source(RANDOM, family))
    size_bytes = sum(weight.nbytes for weight in upsampler.state_dict().values())
    lora_bytes = sum(pair.down.nbytes + pair.up.nbytes for pair in (lora or {}).values())
    sizes = replace(sizes, weights={**sizes.weights, UPSAMPLER: size_bytes}, distilled_lora=lora_bytes)
    placed = plan(offload.free_vram_bytes(), free_host_bytes(), sizes)
    placed = offload.apply(pipe, placed, device, upsampler)
    found = {"upsampler": True, "distilled_lora": guided, "sigmas": None if guided else DISTILLED_SIGMAS}
    profile = replace(choose_profile(pipe.transformer.config), **found)
    name = random_name(Source(RANDOM, family))
    model = Ltx2Model(name, profile, pipe, placed, LoadOptions(), upsampler=upsampler, distilled_lora=lora)
    model.apply_optimizations(choose_optimizations(placed, device, LoadOptions()))
    return model


def measure(model: Ltx2Model, request: VideoRequest, given: Conditions, device: str) -> tuple[Row, Any]:
    """Render once: seconds of each stage by its name, all seconds, and the peak memory. Also returns the frames."""
    marks: list[tuple[Stage, float]] = []

    def note(progress: Progress) -> None:
        wait(device)
        marks.append((progress.stage, time.perf_counter()))

    forget_peak(device)
    held = held_gb(device)
    clip = model.render(request, given, note)
    wait(device)
    ends = [at for _, at in marks[1:]] + [time.perf_counter()]
    seconds: dict[str, float] = {}
    for (stage, at), end in zip(marks, ends, strict=True):
        seconds[f"{stage}_s"] = seconds.get(f"{stage}_s", 0.0) + end - at
    return {**seconds, "seconds": ends[-1] - marks[0][1], "peak_gb": peaks_gb(device)[0] - held}, clip.frames


def compare(
    model: Ltx2Model, sizes: Sequence[tuple[int, int, int]], rounds: int, device: str, save: Path | None
) -> Iterator[Row]:
    """One row for each size, what is given, and way. The second of a pair has the ratio of the totals."""
    for height, width, num_frames in sizes:
        size = {"height": height, "width": width, "num_frames": num_frames}
        ways = {each: VideoRequest(prompt=PROMPT, seed=1, upscale=each, **size) for each in Upscale}
        for kind, given in {
            "text": first_frame(None),
            "image": first_frame(Image.new("RGB", (width, height), "teal")),
        }.items():
            found = _in_turns(model, ways, given, rounds, device)
            for way, (row, frames) in found.items():
                request = apply_adjustments(ways[way], model.find_adjustments(ways[way]))
                told = estimate_peak(request, given.tokens).bytes / GB
                ratio = row["seconds"] / found[Upscale.NONE][0]["seconds"]
                name = f"{width}x{height}x{num_frames}"
                yield {"size": name, "from": kind, "upscale": way.value, **row, "told_gb": told, "ratio": ratio}
                if save is not None:
                    _save(frames, save / f"{name}-{kind}-{way.value}.png")


def _in_turns(
    model: Ltx2Model, ways: Mapping[Upscale, VideoRequest], given: Conditions, rounds: int, device: str
) -> dict[Upscale, tuple[Row, Any]]:
    """The medians of both ways, whose order changes with each round. The first round is a warm-up."""
    rows: dict[Upscale, list[Row]] = {way: [] for way in ways}
    frames: dict[Upscale, Any] = {}
    for turn in range(rounds + 1):
        for way in sorted(ways, reverse=bool(turn % 2)):
            row, frames[way] = measure(model, ways[way], given, device)
            if turn:
                rows[way].append(row)
    return {
        way: ({name: statistics.median(row[name] for row in of_way) for name in of_way[0]}, frames[way])
        for way, of_way in rows.items()
    }


def _save(frames: Any, file: Path) -> None:
    """The middle frame. Real models make YUV planes on a GPU."""
    middle = frames[len(frames) // 2]
    Image.fromarray(middle if middle.ndim == 3 else to_rgb(middle)).save(file)  # RGB has colors


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=RANDOM, help="random, or a checkpoint (a folder or a repository)")
    parser.add_argument("--guided", action="store_true", help="random or tiny weights as a base model, with a LoRA")
    parser.add_argument("--family", type=Family, choices=list(Family), default=Family.LTX_2_3, help="of random weights")
    parser.add_argument("--latent-upsampler", default=LoadOptions().latent_upsampler, help="as in the settings")
    parser.add_argument("--distilled-lora", default=LoadOptions().distilled_lora, help="as in the settings")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache-dir", type=Path, default=Path("data/cache"))
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where one frame of each way goes")
    return parser.parse_args(words)


def run(asked: argparse.Namespace) -> list[Row]:
    """Compare both ways. Prints and writes each row as soon as it is measured."""
    device = "cpu" if asked.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: --tiny tries the benchmark itself on a CPU")
    with tempfile.TemporaryDirectory() as folder:
        model = _open(asked, device, Path(folder))
        print(f"{model.name}, {model.placement.mode}, {', '.join(model.optimizations) or 'no optimizations'}")
        rows: list[Row] = []
        for row in compare(model, TINY_SIZES if asked.tiny else SIZES, asked.rounds, device, asked.save):
            rows.append(row)
            print("  ".join(f"{name} {_spell(value)}" for name, value in row.items()), flush=True)
            if asked.json:
                asked.json.write_text(json.dumps({"model": model.name, "rows": rows, "machine": look()}, indent=2))
        model.close()
    return rows


def _open(asked: argparse.Namespace, device: str, folder: Path) -> Ltx2Model:
    if asked.tiny:
        return open_tiny(folder, guided=asked.guided)
    if asked.model == RANDOM:
        return open_random(asked.family, device, guided=asked.guided)
    options = LoadOptions(latent_upsampler=asked.latent_upsampler, distilled_lora=asked.distilled_lora)
    return Ltx2Model.load(asked.model, device, asked.cache_dir, ignore, options)


def _spell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(parse())
