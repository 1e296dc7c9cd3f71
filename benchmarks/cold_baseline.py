"""The baseline of a cold start, bytes divided by bandwidth, compared with this project's prefetch and transfer.

    python -m benchmarks.cold_baseline FOLDER    a checkpoint that diffusers saved, for example with `make weights`
    python -m benchmarks.cold_baseline --gb 2    files of noise, which are deleted afterwards

Reading: the files are first dropped from the page cache, except those that other processes have mapped. The two ways
alternate, and the best of three runs counts. The baseline is the faster of the two.

Moving to the GPU: torch's own `.to`, this project's copy streams, and one copy from pinned memory, which shows the
bus's rate. All move the same bytes. Without a GPU the copies stay on the CPU, which only tests the benchmark.
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models.memory.transfer import to_device
from models.startup.prefetch import list_weight_files, prefetch

GB = 10**9
ROUNDS = 3
MOVED_BYTES = 2 * GB
PIECE_BYTES = 64 * 1024 * 1024


def drop(files: list[Path]) -> None:
    """Drop `files` from the page cache."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def seconds(work: Callable[[], object]) -> float:
    """The seconds that `work` takes, including the device's pending work."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_reading(folder: Path) -> dict[str, float]:
    """GB/s of each way to read the weights of `folder`."""
    files = list_weight_files(folder)
    gb = sum(path.stat().st_size for path in files) / GB

    def one_reader() -> None:
        for path in files:
            subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=4M"], check=True, capture_output=True)

    def ours() -> None:
        prefetch(folder, threading.Event())

    ways: dict[str, Callable[[], None]] = {"one reader (dd)": one_reader, "read ahead": ours}
    rates = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, work in ways.items():
            drop(files)
            rates[name] = max(rates[name], gb / seconds(work))
    return {**rates, "read ahead, in the cache already": gb / seconds(ours), "GB": gb}


def measure_moving(size_bytes: int, device: torch.device) -> dict[str, float]:
    """GB/s of each way from host memory to `device`."""
    gb = size_bytes / GB

    def weights() -> list[torch.Tensor]:
        return [torch.ones(PIECE_BYTES, dtype=torch.uint8) for _ in range(max(1, size_bytes // PIECE_BYTES))]

    def by_torch(plain: list[torch.Tensor]) -> None:
        for weight in plain:
            weight.data = weight.to(device, copy=True)

    plain, ours = weights(), weights()
    rates = {"torch's .to": gb / seconds(lambda: by_torch(plain))}
    rates["lanes"] = gb / seconds(lambda: to_device(ours, device))
    if device.type == "cuda":
        pinned = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=True)
        target = torch.empty_like(pinned, device=device)
        best = min(seconds(lambda: target.copy_(pinned)) for _ in range(ROUNDS))
        rates["the bus (from pinned memory)"] = PIECE_BYTES / GB / best
    return rates


def write_noise(folder: Path, size_bytes: int) -> None:
    """Write weights that no cache and no disk can compress."""
    (folder / "transformer").mkdir()
    with (folder / "transformer" / "noise.safetensors").open("wb") as file:
        for _ in range(max(1, size_bytes // PIECE_BYTES)):
            file.write(os.urandom(PIECE_BYTES))


def report(folder: Path, moved_bytes: int) -> None:
    """Measure, and print."""
    reading = measure_reading(folder)
    gb = reading.pop("GB")
    print(f"{gb:.2f} GB of weights")
    for name, rate in reading.items():
        print(f"{name:<36}{rate:8.2f} GB/s{gb / rate:8.2f} s")
    floor = max(reading["one reader (dd)"], reading["read ahead"])
    print(f"{'floor: bytes over bandwidth':<36}{floor:8.2f} GB/s{gb / floor:8.2f} s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, rate in measure_moving(moved_bytes, device).items():
        print(f"{f'to {device.type}: {name}':<36}{rate:8.2f} GB/s{gb / rate:8.2f} s")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="a checkpoint that diffusers saved")
    parser.add_argument("--gb", type=float, default=2.0, help="without one, how much noise to write")
    parser.add_argument("--moved-bytes", type=int, default=MOVED_BYTES)
    asked = parser.parse_args()
    if asked.folder is not None:
        report(asked.folder, asked.moved_bytes)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder), int(asked.gb * GB))
        report(Path(folder), asked.moved_bytes)


if __name__ == "__main__":
    main()
