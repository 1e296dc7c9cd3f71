"""Promise: a container's limit counts, so that a replica is not killed for using the machine's free memory."""

from pathlib import Path

import pytest

from models.memory import host as host_memory
from models.memory.host import (
    RESERVED_BYTES,
    V1,
    V2,
    CgroupFiles,
    _left_in_cgroups,
    all_host_bytes,
    free_host_bytes,
    max_pinned_bytes,
    pinned_bytes,
    reserved_bytes,
)

UNLIMITED_V1 = str(2**63 - 4096)


def cgroup(folder: Path, limit: str, current: int, cached: int, names: CgroupFiles = V2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names.limit).write_text(f"{limit}\n")
    (folder / names.taken).write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names.cached[0]} {cached}\n{names.cached[1]} 0\n")


def own(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_what_a_limit_leaves_includes_the_page_cache(tmp_path: Path) -> None:
    cgroup(tmp_path / "root", "1000", 700, 300)
    assert _left_in_cgroups(tmp_path / "root", own(tmp_path, "0::/")) == [600]


def test_every_limit_above_counts_too(tmp_path: Path) -> None:
    root = tmp_path / "root"
    cgroup(root / "pods", "1000", 900, 0)
    cgroup(root / "pods/mine", "5000", 100, 0)
    assert sorted(_left_in_cgroups(root, own(tmp_path, "0::/pods/mine"))) == [100, 4900]


@pytest.mark.parametrize("controllers", ["memory", "cpu,memory"])
def test_a_limit_of_the_first_version_counts(tmp_path: Path, controllers: str) -> None:
    root = tmp_path / "root"
    cgroup(root / "memory" / "docker", "1000", 400, 0, V1)
    cgroup(root / "memory" / "docker/mine", "800", 700, 300, V1)
    lines = own(tmp_path, "9:name=systemd:/docker/mine", f"4:{controllers}:/docker/mine", "3:cpuset:/", "0::/")
    assert sorted(_left_in_cgroups(root, lines)) == [400, 600]


def test_a_container_that_sees_its_own_limit_at_the_top_is_held_to_it(tmp_path: Path) -> None:
    """As Docker mounts them: the path is the host's, and the container's files are at the root."""
    root = tmp_path / "root"
    cgroup(root / "memory", "1000", 400, 0, V1)
    assert _left_in_cgroups(root, own(tmp_path, "4:memory:/docker/0123abc")) == [600]


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    cgroup(tmp_path / "root" / "mine", "max", 900, 0)
    assert _left_in_cgroups(tmp_path / "root", own(tmp_path, "0::/mine")) == []
    assert _left_in_cgroups(tmp_path / "root", tmp_path / "no such file") == []
    cgroup(tmp_path / "root" / "memory" / "mine", UNLIMITED_V1, 900, 0, V1)
    assert min(_left_in_cgroups(tmp_path / "root", own(tmp_path, "4:memory:/mine"))) > 2**60


def test_this_machine_has_memory() -> None:
    assert free_host_bytes() > 0


def test_a_large_machine_keeps_more_free_than_ray_wants() -> None:
    assert reserved_bytes(64 * 10**9) == RESERVED_BYTES
    assert reserved_bytes(512 * 10**9) > 0.05 * 512 * 10**9


def test_in_a_container_the_margin_is_a_share_of_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 % of a host with 2 TB is more than a container of 128 GB has: no pinning and no sleep would be possible."""
    cgroup(tmp_path / "root" / "mine", str(10**9), 4 * 10**8, 0)
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path / "root")
    monkeypatch.setattr(host_memory, "OWN_CGROUP", own(tmp_path, "0::/mine"))
    assert all_host_bytes() == 10**9
    assert free_host_bytes() == 6 * 10**8


def test_pinned_memory_leaves_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "all_host_bytes", lambda: 128 * 10**9)
    monkeypatch.setattr(host_memory, "free_host_bytes", lambda: RESERVED_BYTES)
    assert max_pinned_bytes() == 0
    monkeypatch.setattr(host_memory, "free_host_bytes", lambda: 110 * 10**9)
    assert max_pinned_bytes() == 110 * 10**9 - reserved_bytes(128 * 10**9)


def test_a_pinned_weight_takes_a_power_of_two() -> None:
    """LTX-2's own matrices are powers of two, Gemma's (3840 wide) are not."""
    assert pinned_bytes([4096 * 4096 * 2, 0, 1]) == 4096 * 4096 * 2 + 1
    assert pinned_bytes([3840 * 15_360 * 2]) == 2**27
