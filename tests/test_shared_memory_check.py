"""A start reports if shared memory is too small for the clips between Generator and Encoder."""

from pathlib import Path

import numpy as np
import pytest

from deployments.cluster import shared_memory_check
from deployments.cluster.shared_memory_check import check_shared_memory
from models.clip import Clip, largest_clip_bytes
from models.request.request import RequestLimits, VideoRequest

GB = 10**9


def node(store_gb: float, cpus: float = 2, *, alive: bool = True) -> dict:
    return {"Alive": alive, "Resources": {"object_store_memory": store_gb * GB, "CPU": cpus}}


@pytest.fixture
def shared(monkeypatch, tmp_path) -> None:
    """A machine without /dev/shm."""
    monkeypatch.setattr(shared_memory_check, "SHARED_MEMORY", tmp_path / "none")


def test_no_request_within_the_limits_makes_a_larger_clip_than_is_counted_on():
    limits = RequestLimits()
    largest = VideoRequest(prompt="x", height=1088, width=1920, num_frames=481)
    frames = np.broadcast_to(np.uint8(0), (largest.num_frames, largest.height * 3 // 2, largest.width))
    audio = np.zeros((2, int(largest.duration_s * 48_000)), np.float32)
    clip = Clip(frames, audio, 48_000, largest.exact_frame_rate)
    assert clip.size_bytes <= largest_clip_bytes(limits) < clip.size_bytes + 8_000_000
    assert largest_clip_bytes(RequestLimits(max_side_px=64, max_frames=9)) < GB / 100, "sides and frames bound it too"


def test_room_for_two_of_the_largest_clips_is_enough(shared):
    assert check_shared_memory(RequestLimits(), [node(3.1), node(100)]) == []


def test_the_smallest_store_of_a_node_that_works_is_named_with_both_figures(shared):
    (short,) = check_shared_memory(RequestLimits(), [node(100), node(2.9)])
    assert "has 2.9 GB" in short
    assert "take 3.0 GB" in short
    assert "object_store_memory" in short
    assert check_shared_memory(RequestLimits(), [node(100), node(0.1, cpus=0), node(0.1, alive=False)]) == []


def test_a_node_that_lends_its_gpus_alone_counts_as_one_that_works(shared):
    gpu_worker = {"Alive": True, "Resources": {"object_store_memory": 0.1 * GB, "GPU": 1.0}}
    (short,) = check_shared_memory(RequestLimits(), [node(100), gpu_worker])
    assert "has 0.1 GB" in short


def test_lower_limits_need_less(shared):
    assert check_shared_memory(RequestLimits(max_total_pixels=512 * 768 * 121), [node(0.4)]) == []


def test_shared_memory_that_is_too_small_is_named_with_what_to_set(monkeypatch):
    monkeypatch.setattr(shared_memory_check, "SHARED_MEMORY", Path("/proc"))  # a file system without a size
    (short,) = check_shared_memory(RequestLimits(), [node(100)])
    assert "has 0.00 GB" in short
    assert "--shm-size" in short
