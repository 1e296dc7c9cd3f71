"""Promise: a container's limit counts, so that a replica is not killed for what the machine has free."""

from pathlib import Path

from models.host_memory import _left_in_cgroups, free_host_bytes


def cgroup(root: Path, name: str, limit: str, current: int, cached: int) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 0\n")


def own(tmp_path: Path, path: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text(f"0::{path}\n")
    return file


def test_what_a_limit_leaves_includes_the_page_cache(tmp_path: Path) -> None:
    cgroup(tmp_path / "root", ".", "1000", 700, 300)
    assert _left_in_cgroups(tmp_path / "root", own(tmp_path, "/")) == [600]


def test_every_limit_above_counts_too(tmp_path: Path) -> None:
    root = tmp_path / "root"
    cgroup(root, "pods", "1000", 900, 0)
    cgroup(root, "pods/mine", "5000", 100, 0)
    assert sorted(_left_in_cgroups(root, own(tmp_path, "/pods/mine"))) == [100, 4900]


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    cgroup(tmp_path / "root", "mine", "max", 900, 0)
    assert _left_in_cgroups(tmp_path / "root", own(tmp_path, "/mine")) == []
    assert _left_in_cgroups(tmp_path / "root", tmp_path / "no such file") == []


def test_this_machine_has_memory() -> None:
    assert free_host_bytes() > 0
