"""Error of `seconds` and `eta_s` over a mixed day: `python -m benchmarks.throughput [TASKS]`.

The day is simulated, not measured. A task's duration comes from a formula: a fixed part, transformer calls whose cost
grows with the tokens and their square, and decoding per pixel. It includes a machine's noise, and some tasks that wait
for a disk. The estimator is the server's own class. It sees only the tasks that have ended, not the formula.
"""

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any

from deployments.ingress.throughput.estimator import ThroughputEstimator
from models.ltx2.options import FAST_GUIDANCE_FRACTION
from models.memory.estimate import transformer_calls, transformer_calls_of_steps, video_tokens
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.tasks import State, Task
from storage.ttl_cache import TtlCache

FIXED_S, EVALUATION_S, TOKEN_S, TOKENS_SQUARED_S, DECODED_PIXEL_S = 0.8, 0.02, 2.2e-5, 4.0e-10, 6e-8
SIZES = ((512, 768), (512, 768), (704, 1280), (1088, 1920), (256, 384), (64, 64))
LENGTHS = (9, 49, 97, 121, 121, 241)
UNGUIDED = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0}
LOOKS = (0.1, 0.5, 0.9)
"""The fractions of a task's duration at which it is polled."""


@dataclass
class EndedTasks:
    """The part of a store that the estimator uses."""

    ended: list[Task] = field(default_factory=list)

    def page(self, _states: object, limit: int) -> list[Task]:
        """The newest tasks."""
        return self.ended[::-1][:limit]

    def live_replicas(self) -> list[Any]:
        """Empty: the estimator then assumes one Generator."""
        return []


def evaluation_s(request: VideoRequest) -> float:
    """The seconds of one transformer call."""
    tokens = video_tokens(request)
    return EVALUATION_S + TOKEN_S * tokens + TOKENS_SQUARED_S * tokens**2


def after_s(request: VideoRequest) -> float:
    """The seconds of decoding and the fixed part."""
    return FIXED_S + DECODED_PIXEL_S * request.height * request.width * request.num_rendered_frames


def draw_requests(count: int, draw: random.Random) -> Iterator[VideoRequest]:
    """The requests of a day."""
    for _ in range(count):
        height, width = draw.choice(SIZES)
        fields: dict[str, Any] = {
            "height": height,
            "width": width,
            "num_frames": draw.choice((9, 49, 97, 121, 121, 241)),
        }
        fields |= {"num_inference_steps": draw.choice((20, 30, 40, 40)), **draw.choice(({}, {}, UNGUIDED))}
        yield VideoRequest(prompt="x", quality=draw.choice(("exact", "exact", "fast")), **fields)


def ended_task(request: VideoRequest, number: int, denoising_s: float, rest_s: float) -> Task:
    """A task row with these durations."""
    now = time.time()
    values: dict[str, Any] = dict.fromkeys(Task.__dataclass_fields__)
    values |= {"id": str(number), "sequence": number, "state": State.COMPLETED, "model": "m", "request": request}
    values |= {"adjustments": (), "step": 0, "progress": 1.0, "finished_at": now}
    values |= {"rendering_at": now - denoising_s - rest_s, "decoding_at": now - rest_s}
    return Task(**values)


def running_task(ended: Task, elapsed_s: float, denoising_s: float) -> Task:
    """The same task as a poll sees it `elapsed_s` after its first step began."""
    now, request = time.time(), ended.request
    if elapsed_s >= denoising_s:
        stage, step = Stage.DECODING, request.num_inference_steps
    else:
        done = elapsed_s / denoising_s * transformer_calls(request, FAST_GUIDANCE_FRACTION)
        steps = range(request.num_inference_steps)
        stage, step = (
            Stage.DENOISING,
            sum(transformer_calls_of_steps(request, FAST_GUIDANCE_FRACTION, k + 1) <= done for k in steps),
        )
    decoding_at = None if stage is Stage.DENOISING else now - (elapsed_s - denoising_s)
    progress = Progress(stage, step).fraction(request.num_inference_steps)
    times = {"rendering_at": now - elapsed_s, "decoding_at": decoding_at, "finished_at": None, "progress": progress}
    return replace(ended, state=State.PROCESSING, stage=stage, step=step, **times)


def simulate(count: int, draw: random.Random) -> dict[str, list[float]]:
    """The errors of each estimate, as fractions of the task's whole duration."""
    store, errors = EndedTasks(), dict[str, list[float]]()
    pace = ThroughputEstimator(store, "m", FAST_GUIDANCE_FRACTION)  # type: ignore[arg-type]
    pace._sample = TtlCache(pace._take_sample, ttl_s=0)  # noqa: SLF001  # each look is a new one
    for number, request in enumerate(draw_requests(count, draw)):
        noise = draw.lognormvariate(0, 0.06) * (draw.uniform(2, 6) if draw.random() < 0.03 else 1)
        denoising_s = noise * transformer_calls(request, FAST_GUIDANCE_FRACTION) * evaluation_s(request)
        rest_s = noise * after_s(request)
        task, whole_s = ended_task(request, number, denoising_s, rest_s), denoising_s + rest_s
        told = {"seconds": (pace.render_s(request), whole_s)}
        for part in LOOKS:
            running = running_task(task, part * whole_s, denoising_s)
            told[f"eta_s at {part:.0%}"] = (pace.eta_s(running, None), (1 - part) * whole_s)
        for name, (seconds, true_s) in told.items():
            if seconds is not None:
                errors.setdefault(name, []).append(abs(seconds - true_s) / whole_s)
        store.ended.append(task)
    return errors


def main() -> None:
    """Print the errors of a day."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"{count} simulated tasks; errors as parts of what each took\n")
    print("| told | tasks | median | nine of ten under |\n|---|---|---|---|")
    for name, errors in simulate(count, random.Random(1)).items():
        print(f"| {name} | {len(errors)} | {median(errors):.1%} | {quantiles(errors, n=10)[-1]:.1%} |")


if __name__ == "__main__":
    main()
