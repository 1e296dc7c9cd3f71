"""Promise: a model renders the same after sleep mode as before. The CPU replaces the GPU, with the same moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import LTX2Pipeline

from models.checkpoint.profile import read_profile
from models.checkpoint.sizes import measure_sizes
from models.conditions import NO_CONDITIONS
from models.errors import ModelUnavailable
from models.ltx2.model import Ltx2Model
from models.memory import host as host_memory
from models.memory import offload, sleep_mode, transfer
from models.memory.host import pinned_bytes
from models.memory.offload_plan import GB, OFFLOADED_COMPONENTS, OffloadMode, plan, plan_cpu
from models.memory.sleep_mode import SleepMode
from tests.models.conftest import ignore, small

HUGE = 2**62


@pytest.fixture(autouse=True)
def machine_of_64_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate this memory, whatever the test machine has free."""
    monkeypatch.setattr(sleep_mode, "all_host_bytes", lambda: 64 * GB)
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: 32 * GB)


def placed(folder: Path, place: OffloadMode) -> Ltx2Model:
    """A tiny model placed as on a GPU."""
    pipe = LTX2Pipeline.from_pretrained(folder)
    placement = plan(HUGE, HUGE, measure_sizes(folder), place=place)
    offload.apply(pipe, placement, device="cpu")
    model = Ltx2Model("tiny", read_profile(folder), pipe, placement)
    model.sleep_mode = SleepMode(pipe, placement, device="cpu")
    return model


def latents(model: Ltx2Model) -> torch.Tensor:
    return model._denoise(small(), NO_CONDITIONS, ignore).video


@pytest.mark.parametrize("place", [OffloadMode.NONE, OffloadMode.ALL_BUT_TRANSFORMER])
def test_it_renders_the_same_after_a_sleep(tiny_folder: Path, place: OffloadMode) -> None:
    model = placed(tiny_folder, place)
    before = latents(model)
    old = [weight.data for weight in model.sleep_mode._weights]
    assert model.can_sleep()
    assert model.sleep(lambda: False)
    assert model.sleep_mode.asleep
    moved = zip(old, model.sleep_mode._weights, strict=True)
    assert all(then.data_ptr() != now.data_ptr() for then, now in moved if then.numel())
    model.wake()
    assert not model.sleep_mode.asleep
    assert torch.equal(latents(model), before)


def test_it_renders_the_same_after_a_sleep_that_was_broken_off(tiny_folder: Path) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    before = latents(model)
    answers = iter([False, False, True])
    assert not model.sleep(lambda: next(answers))
    assert model.sleep_mode.asleep
    model.wake()
    assert torch.equal(latents(model), before)


def test_a_wake_brings_back_what_had_gone_and_nothing_else(tiny_folder: Path) -> None:
    """A second copy of weights that never left would not fit on a GPU that the model fills."""
    model = placed(tiny_folder, OffloadMode.NONE)
    answers = iter([False, False, True])
    model.sleep(lambda: next(answers))
    left = [weight.data_ptr() for weight in model.sleep_mode._weights]
    model.wake()
    moved = [now.data_ptr() != then for now, then in zip(model.sleep_mode._weights, left, strict=True)]
    assert moved == [True, True] + [False] * (len(left) - 2)


def test_one_that_was_called_back_sleeps_on_from_where_it_was(tiny_folder: Path) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    answers = iter([False, True])
    assert not model.sleep(lambda: next(answers))
    first = model.sleep_mode._weights[0].data_ptr()
    assert model.sleep(lambda: False)
    assert model.sleep_mode._weights[0].data_ptr() == first
    assert not model.can_sleep()


def test_one_that_is_called_back_at_once_is_awake(tiny_folder: Path) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    assert not model.sleep(lambda: True)
    assert not model.asleep


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Process 7 has 60 GiB in use"),
            "too little free memory .* Process 7 has 60 GiB",
        ),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), "illegal memory access"),
    ],
)
def test_a_wake_that_fails_says_why_and_the_next_may_succeed(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    before = latents(model)
    model.sleep(lambda: False)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "to_device", fail)
        with pytest.raises(ModelUnavailable, match=said):
            model.wake()
    assert model.asleep
    model.wake()
    assert torch.equal(latents(model), before)


def test_what_passes_through_the_gpu_stays_where_it_is(tiny_folder: Path) -> None:
    sizes = measure_sizes(tiny_folder, "float32").weights
    model = placed(tiny_folder, OffloadMode.ALL_BUT_TRANSFORMER)
    streamed = sum(sizes.get(name, 0) for name in OFFLOADED_COMPONENTS[OffloadMode.ALL_BUT_TRANSFORMER])
    assert 0 < model.sleep_mode.size_bytes < sum(sizes.values()) - streamed + 10_000


def test_what_is_in_no_block_stays_on_the_gpu_and_sleeps(tiny_folder: Path) -> None:
    model = placed(tiny_folder, OffloadMode.BLOCK)
    before = latents(model)
    transformer = model._text_to_video.transformer
    sleeping = {id(weight) for weight in model.sleep_mode._weights}
    assert {id(weight) for weight in transformer.proj_in.parameters()} <= sleeping
    assert not {id(weight) for weight in transformer.transformer_blocks.parameters()} & sleeping
    assert model.sleep(lambda: False)
    model.wake()
    assert torch.equal(latents(model), before)


def test_a_model_on_a_cpu_has_nothing_to_move(tiny_folder: Path) -> None:
    pipe = LTX2Pipeline.from_pretrained(tiny_folder)
    model = Ltx2Model("tiny", read_profile(tiny_folder), pipe, plan_cpu(HUGE, measure_sizes(tiny_folder)))
    assert not model.can_sleep()


def test_where_host_memory_is_short_it_stays_awake(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    needed = pinned_bytes(weight.nbytes for weight in model.sleep_mode._weights) + host_memory.RESERVED_BYTES
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: needed - 1)
    assert not model.can_sleep()
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: needed)
    assert model.can_sleep()


def test_host_memory_that_others_take_meanwhile_is_left_to_them(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All replicas of a host enter sleep mode in the same minute, and each has measured enough memory."""
    model = placed(tiny_folder, OffloadMode.NONE)
    before = latents(model)
    assert model.can_sleep()
    stood = [weight.data_ptr() for weight in model.sleep_mode._weights]
    free = iter([32 * GB, 32 * GB, *[host_memory.RESERVED_BYTES] * 10_000])
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: next(free))
    freed: list[bool] = []
    monkeypatch.setattr(sleep_mode, "free_pinned_memory", lambda: freed.append(True))
    assert not model.sleep(lambda: False)
    assert not model.asleep, "those two that had gone are back"
    assert [weight.data_ptr() for weight in model.sleep_mode._weights[2:]] == stood[2:]
    assert freed, "and what they took of host memory is free for others"
    assert torch.equal(latents(model), before)


def test_each_weight_looks_and_takes_alone_on_its_host(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    held: list[bool] = []

    @contextmanager
    def watched() -> Iterator[None]:
        held.append(True)
        yield
        held.append(False)

    monkeypatch.setattr(sleep_mode, "host_lock", watched)
    looked: list[bool] = []
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: looked.append(held[-1]) or 32 * GB)
    monkeypatch.setattr(transfer, "allocate_host", lambda weight: looked.append(held[-1]) or torch.empty_like(weight))
    assert model.sleep(lambda: False)
    assert looked == [True] * 2 * len(model.sleep_mode._weights)


def test_host_memory_that_torch_kept_from_the_last_sleep_counts_as_free(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    monkeypatch.setattr(sleep_mode, "free_host_bytes", lambda: host_memory.RESERVED_BYTES)
    assert not model.can_sleep()
    monkeypatch.setattr(sleep_mode, "kept_pinned_bytes", lambda: 2 * model.sleep_mode.size_bytes)
    assert model.can_sleep()


def test_a_wake_measures_anew_what_room_is_left(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = placed(tiny_folder, OffloadMode.NONE)
    model.free_vram_bytes = 12_000
    monkeypatch.setattr(offload, "free_vram_bytes", lambda: 9_000)
    model.sleep(lambda: False)
    model.wake()
    assert model.free_vram_bytes == 9_000
