"""LTX-2 on one GPU, measured in one run beside diffusers as it comes.

    python -m benchmarks.gpu --json gpu.json --profile-file profile.txt    random weights of full size, 80 GB
    python -m benchmarks.gpu --family 2.3                                  those of LTX-2.3
    python -m benchmarks.gpu --model FOLDER                                a checkpoint that diffusers saved
    python -m benchmarks.gpu --tiny                                        the tiny model, on a CPU too: tries it all

| part | what it measures |
|---|---|
| `steps` | diffusers as it comes, each speed-up, several together: seconds a step, peak memory, the share of the measured matrix rate that the work of plain diffusers makes of that time, the latents' difference to plain diffusers |
| `fast` | what `quality: fast` is made of: steps without guidance (it takes half of them so), products in float8 |
| `decode` | the picture's decoder, whole and in tiles |
| `frames` | the frames' way to host memory, as YUV 4:2:0 and as RGB |
| `moves` | the transformer's weights to host memory and back: sleep and wake |
| `profile` | the kernels of two steps that take longest |
| `tasks` | whole tasks as the server renders them: where the seconds go, peak memory beside the estimate; whether memory creeps |
| `cards` | the placements of smaller cards, each under a bound of the allocator as large as the card |

A part that fails says so in its place, and the next goes on. Needs torch, diffusers, transformers and accelerate, about 90
GB of host memory for `tasks` and `cards` with random weights, and neither Ray nor a network.
"""  # noqa: E501

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import Shape, gemm_tflops, write_profile
from benchmarks.gpu.parts import measure_decoding, measure_frames, measure_moves
from benchmarks.gpu.report import print_part
from benchmarks.gpu.steps import Steps
from benchmarks.gpu.subject import RANDOM, TINY, Source, open_subject
from benchmarks.gpu.tasks import measure_cards, measure_tasks
from models.memory import free_memory
from models.recipes import Family

FULL = Shape(512, 768, 121, steps=5)
LARGE = Shape(1088, 1920, 121, steps=3)
SMALL = Shape(64, 128, 9, steps=3)
TASK_STEPS = 40

Part = Callable[[], Any]


class Bench:
    """All parts of one run. `found` has what was measured so far."""

    def __init__(self, arguments: argparse.Namespace, source: Source | None = None) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.found: dict[str, Any] = {}
        self._source = source or Source(TINY if arguments.tiny else arguments.model, arguments.family)
        self._small = arguments.tiny
        self._shape = SMALL if self._small else FULL
        self._task = SMALL if self._small else Shape(512, 768, 121, arguments.task_steps)
        self._only = arguments.only
        self._json = arguments.json
        self._profile_file = arguments.profile_file

    def run(self) -> None:
        """Measure part after part, and write down what there is after each."""
        self.found |= {
            "device": torch.cuda.get_device_name() if self.device == "cuda" else platform.processor() or "CPU",
            "torch": torch.__version__,
            "model": f"{self._source.model} {self._source.family}",
            "shape": vars(self._shape),
            "gemm_tflops": gemm_tflops(self.device, 512 if self._small else 8192),
        }
        self.run_parts(self._diffusers_parts)
        self.run_parts(self._server_parts)

    def run_parts(self, open_parts: Callable[[], Mapping[str, Part]]) -> None:
        """Measure some parts. One that fails does not end the others: a GPU is dear."""
        for name, measure in open_parts().items():
            if self._only and name not in self._only:
                continue
            try:
                self.found[name] = measure()
            except Exception as error:
                self.found[name] = {"error": f"{type(error).__name__}: {error}"}
            print_part(name, self.found[name])
            free_memory()
            if self._json:
                self._json.write_text(json.dumps(self.found, indent=2), encoding="utf-8")

    def _diffusers_parts(self) -> Mapping[str, Part]:
        """On one pipeline of diffusers, which is gone when the next parts begin."""
        subject = open_subject(self._source, self.device)
        steps = Steps(subject, self._shape, self.found["gemm_tflops"])
        parts: dict[str, Part] = {
            "steps": steps.measure_options,
            "fast": steps.measure_fast,
            "decode": lambda: measure_decoding(subject, self._shape, steps.reference.video),
            "frames": lambda: measure_frames(subject, self._shape),
            "moves": lambda: measure_moves(subject),
        }
        if path := self._profile_file:
            parts["profile"] = lambda: write_profile(subject, self._shape, path)
        return parts

    def _server_parts(self) -> Mapping[str, Part]:
        """On models of the server, one after the other."""
        large = SMALL if self._small else LARGE
        return {
            "tasks": lambda: measure_tasks(self._source, self.device, self._task, large),
            "cards": lambda: measure_cards(self._source, self.device, self._task),
        }

    @property
    def failed(self) -> list[str]:
        """The parts that could not be measured."""
        return [name for name, part in self.found.items() if isinstance(part, dict) and "error" in part]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=RANDOM, help="random, or a folder that diffusers saved")
    parser.add_argument("--family", type=Family, choices=list(Family), default=Family.LTX_2_0, help="of random weights")
    parser.add_argument("--tiny", action="store_true", help="the tiny model at a small size")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone")
    parser.add_argument("--task-steps", type=int, default=TASK_STEPS, help="of the tasks that are measured whole")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--profile-file", type=Path, help="where a profile of two steps goes")
    arguments = parser.parse_args(words)
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device: --tiny tries the benchmark itself on a CPU")
    return arguments


def main() -> None:
    """Measure, and end with 1 where a part could not be measured."""
    bench = Bench(parse())
    bench.run()
    print(json.dumps({name: bench.found[name] for name in ("device", "torch", "model", "shape", "gemm_tflops")}))
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
