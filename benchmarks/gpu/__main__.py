"""Measures LTX-2 on one GPU in one run, compared with plain diffusers.

    python -m benchmarks.gpu --json gpu.json --profile-file profile.txt    random weights of full size, 80 GB
    python -m benchmarks.gpu --family 2.3                                  those of LTX-2.3
    python -m benchmarks.gpu --model FOLDER                                a checkpoint that diffusers saved
    python -m benchmarks.gpu --tiny                                        the tiny model, also on a CPU: a dry run

| part | what it measures |
|---|---|
| `steps` | plain diffusers, first and last, each optimization, several together: seconds per step, allocated and reserved memory, whether all values are finite, the latents' difference to plain diffusers; also plain diffusers' floating-point work divided by the row's time, as a share of the measured matrix rate (even if the row does less work) |
| `attention` | the attention kernels that ran, then a step with each selectable kernel; FA3 and SageAttention if their packages are installed |
| `compile` | compiled blocks, only on a GPU: compiling takes minutes, so select one or two at a time with `--options` |
| `fast` | the parts of `quality: fast`: steps without guidance (half of its steps), products in float8, with exact sums, with fused rounding |
| `decode` | the video decoder, whole and in tiles, and with cuDNN's benchmark mode |
| `sound` | the vocoder as loaded, in float32 and in bfloat16 |
| `frames` | the transfer of frames to host memory, as YUV 4:2:0 and as RGB |
| `moves` | the transformer's weights to host memory and back, twice: sleep and wake |
| `profile` | the kernels of two steps that take longest |
| `tasks` | whole tasks as the server renders them: seconds per part, peak memory beside the estimate; a test for a memory leak |
| `text` | the text encoder on the GPU, in 4 bits, and streamed, pinned or not: one text, both in one pass; difference of the embeddings |
| `cards` | the placements of smaller GPUs, each with GPU memory limited to that of the card; block streaming also with `record_stream` |

Each row is printed and written when it is measured. A part that fails writes its error instead, and the next part runs.
A run that is stopped early keeps its results. `machine` has clocks, power, temperature and throttling before and after
each part.

A machine that has torch, transformers and accelerate also needs the packages of `benchmarks/gpu/wheels.txt`. It needs
neither Ray nor a network. Get the packages with the first command, and install them there with the second:

    pip download --no-deps -c constraints.txt -r benchmarks/gpu/wheels.txt -d wheels
    pip install --no-index --no-deps wheels/*

With random weights, `tasks` needs about 90 GB of host memory and `cards` 120. Where a command may run for only ten
minutes, run these in order, each with `--json NAME.json`:

    python -m benchmarks.gpu --only steps attention fast --profile-file profile.txt
    python -m benchmarks.gpu --only decode sound frames moves profile --profile-file profile.txt
    python -m benchmarks.gpu --only tasks
    TORCHINDUCTOR_CACHE_DIR=compiled python -m benchmarks.gpu --only compile --options "auto + compile"
    TORCHINDUCTOR_CACHE_DIR=compiled python -m benchmarks.gpu --only compile --options "compile dynamic"
    TORCHINDUCTOR_CACHE_DIR=compiled python -m benchmarks.gpu --only compile --options "compile autotune"
    python -m benchmarks.gpu --only steps compile --size 256x384x25 --options auto "compile graphs"
    python -m benchmarks.gpu --only text
    python -m benchmarks.gpu --only cards
    python -m benchmarks.gpu --family 2.3 --only steps decode sound tasks
"""  # noqa: E501

import argparse
import functools
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.machine import look
from benchmarks.gpu.measure import Shape, gemm_tflops, outside_gb, write_profile
from benchmarks.gpu.model_under_test import RANDOM, TINY, Source, open_subject
from benchmarks.gpu.report import Report, rows_of
from benchmarks.gpu.stages import measure_audio, measure_decoding, measure_frames, measure_moves
from benchmarks.gpu.steps import Steps
from benchmarks.gpu.table_rows import ERROR, Row, explain
from benchmarks.gpu.tasks import measure_cards, measure_tasks
from benchmarks.gpu.text import measure_text
from models.checkpoint.profile import Family
from models.memory.gpu import collect_and_empty_cache, free_pinned_memory

FULL = Shape(512, 768, 121, steps=5)
LARGE = Shape(1088, 1920, 121, steps=3)
SMALL = Shape(64, 128, 9, steps=3)
TASK_STEPS = 40
PARTS = (
    "steps", "attention", "compile", "fast", "decode", "sound", "frames", "moves", "profile", "tasks", "text", "cards",
)  # fmt: skip
SIZE = re.compile(r"(\d+)x(\d+)x(\d+)")

Part = Callable[[], Any]
"""Measures one part: returns all its results, or yields rows one by one."""


class Bench:
    """All parts of one run. `found` has the results so far."""

    def __init__(self, arguments: argparse.Namespace, source: Source | None = None) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.found: dict[str, Any] = {}
        self._report = Report()
        self._looks = {"before": look()}
        self._source = source or Source(TINY if arguments.tiny else arguments.model, arguments.family)
        self._small = arguments.tiny
        self._shape = arguments.size or (SMALL if self._small else FULL)
        self._task = replace(self._shape, steps=SMALL.steps if self._small else arguments.task_steps)
        self._options = arguments.options
        self._only = arguments.only
        self._json = arguments.json
        self._profile_file = arguments.profile_file

    def run(self) -> None:
        """Measure all selected parts, in order."""
        self.found |= {
            "device": torch.cuda.get_device_name() if self.device == "cuda" else platform.processor() or "CPU",
            "torch": torch.__version__,
            "model": f"{self._source.model} {self._source.family}",
            "shape": vars(self._shape),
            "gemm_tflops": self._gemm_tflops(),
            "outside_gb": outside_gb(self.device),
            "machine": self._looks,
        }
        self.run_parts(self.diffusers_parts())
        self.run_parts(self.server_parts())
        self.found["gemm_tflops_after"] = self._gemm_tflops()
        self._write()

    def _gemm_tflops(self) -> float:
        return gemm_tflops(self.device, 512 if self._small else 8192)

    def run_parts(self, parts: Mapping[str, Part]) -> None:
        """Measure the selected parts. If one fails, the next ones still run, because GPU time is expensive."""
        for name, measure in parts.items():
            if self._only and name not in self._only:
                continue
            self._report.begin(name)
            try:
                self._measure(name, measure)
            except Exception as error:
                self._note(name, [*rows_of(self.found.get(name)), explain(error)])
            self._looks[f"after {name}"] = look()
            collect_and_empty_cache()
            free_pinned_memory()

    def _measure(self, name: str, measure: Part) -> None:
        found = measure()
        if not isinstance(found, Iterator):
            return self._note(name, found)
        rows: list[Row] = []
        for row in found:
            rows.append(row)
            self._note(name, rows)
        return None

    def _note(self, name: str, found: Any) -> None:
        """Store the results of a part so far. Print its new rows."""
        self.found[name] = found
        self._report.show(found)
        self._write()

    def _write(self) -> None:
        if self._json:
            self._json.write_text(json.dumps(self.found, indent=2), encoding="utf-8")

    def diffusers_parts(self) -> Mapping[str, Part]:
        """Parts on one diffusers pipeline, which the first selected part creates.

        The pipeline is freed before the server parts begin.
        """
        subject = functools.cache(lambda: open_subject(self._source, self.device))
        steps = functools.cache(lambda: Steps(subject(), self._shape, self.found["gemm_tflops"], self._options))
        parts: dict[str, Part] = {
            "steps": lambda: steps().measure_options(),
            "attention": lambda: steps().measure_attention(),
        }
        if self.device == "cuda":
            parts["compile"] = lambda: steps().measure_compiled()
        parts |= {
            "fast": lambda: steps().measure_fast(),
            "decode": lambda: measure_decoding(subject(), self._shape, steps().reference.video),
            "sound": lambda: measure_audio(subject(), steps().reference.audio),
            "frames": lambda: measure_frames(subject(), self._shape),
            "moves": lambda: measure_moves(subject()),
        }
        if path := self._profile_file:
            parts["profile"] = lambda: write_profile(subject(), self._shape, path)
        return parts

    def server_parts(self) -> Mapping[str, Part]:
        """Parts on the server's models, created one after the other."""
        large = SMALL if self._small else LARGE
        return {
            "tasks": lambda: measure_tasks(self._source, self.device, self._task, large),
            "text": lambda: measure_text(self._source, self.device),
            "cards": lambda: measure_cards(self._source, self.device, self._task),
        }

    @property
    def failed(self) -> list[str]:
        """The parts with at least one failed row."""
        return [name for name in PARTS if any(ERROR in row for row in rows_of(self.found.get(name)))]


def parse_size(text: str) -> Shape:
    """Parse HEIGHTxWIDTHxFRAMES."""
    if (found := SIZE.fullmatch(text)) is None:
        raise argparse.ArgumentTypeError("HEIGHTxWIDTHxFRAMES, such as 256x384x25")
    height, width, num_frames = (int(side) for side in found.groups())
    return Shape(height, width, num_frames, FULL.steps)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=RANDOM, help="random, or a folder that diffusers saved")
    parser.add_argument("--family", type=Family, choices=list(Family), default=Family.LTX_2_0, help="of random weights")
    parser.add_argument("--tiny", action="store_true", help="the tiny model at a small size")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help="these parts alone")
    parser.add_argument("--options", nargs="+", metavar="OPTION", help="of steps, attention, compile and fast, these")
    parser.add_argument("--size", type=parse_size, metavar="HxWxFRAMES", help="in place of 512x768x121")
    parser.add_argument("--task-steps", type=int, default=TASK_STEPS, help="of the tasks that are measured whole")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--profile-file", type=Path, help="where a profile of two steps goes")
    arguments = parser.parse_args(words)
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device: --tiny tries the benchmark itself on a CPU")
    return arguments


def main() -> None:
    """Run the benchmark. Exit with 1 if a measurement failed."""
    bench = Bench(parse())
    bench.run()
    print(
        json.dumps(
            {
                name: bench.found[name]
                for name in ("device", "torch", "model", "shape", "gemm_tflops", "gemm_tflops_after", "outside_gb")
            }
        )
    )
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
