"""Promise: the weights are read into the page cache during the imports, each byte once, and no more than fit."""

import shutil
import threading
from pathlib import Path

import pytest

from models.checkpoint.locate import find_checkpoint
from models.names import TINY
from models.startup import prefetch as room
from models.startup.prefetch import list_weight_files, prefetch, select_weight_files, split_ranges


def write(path: Path, size_bytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"w" * size_bytes)
    return path


def test_all_weights_of_a_checkpoint_are_read_and_nothing_else(tiny_folder: Path) -> None:
    wanted = sum(path.stat().st_size for path in tiny_folder.glob("*/*.safetensors"))
    assert wanted > 0
    assert prefetch(tiny_folder, threading.Event()) == wanted


def test_what_a_repository_has_beside_what_it_uses_is_not_read(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "checkpoint")
    write(folder / "transformer_full" / "diffusion_pytorch_model.safetensors", 10)
    write(folder / "latent_upsampler" / "diffusion_pytorch_model.safetensors", 10)
    write(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors", 10)
    assert {path.name for path in list_weight_files(folder)} == {path.name for path in list_weight_files(tiny_folder)}
    assert len(list_weight_files(folder)) == len(list_weight_files(tiny_folder))


def test_the_pieces_of_the_files_are_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RANGE_BYTES", 10)
    files = [write(tmp_path / "a", 25), write(tmp_path / "b", 10), write(tmp_path / "c", 0)]
    assert [(piece.path.name, piece.start, piece.stop) for piece in split_ranges(files)] == [
        ("a", 0, 10), ("a", 10, 20), ("a", 20, 25), ("b", 0, 10)
    ]  # fmt: skip


def test_a_checkpoint_of_many_pieces_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RANGE_BYTES", 1000)
    monkeypatch.setattr(room, "BUFFER_BYTES", 300)
    write(tmp_path / "vae" / "one.safetensors", 12_345)
    write(tmp_path / "transformer" / "two.safetensors", 1)
    assert prefetch(tmp_path, threading.Event()) == 12_346


def test_a_folder_without_weights_has_nothing_to_read(tmp_path: Path) -> None:
    assert prefetch(tmp_path, threading.Event()) == 0


def test_nothing_is_read_once_it_is_ended(tiny_folder: Path) -> None:
    ended = threading.Event()
    ended.set()
    assert prefetch(tiny_folder, ended) == 0


def test_no_more_is_read_than_memory_has_room_for(tmp_path: Path) -> None:
    for name, size_bytes in {"large": 50, "middle": 30, "small": 15}.items():
        write(tmp_path / "transformer" / f"{name}.safetensors", size_bytes)
    chosen = select_weight_files(list_weight_files(tmp_path), room_bytes=70)
    assert [path.stem for path in chosen] == ["large", "small"]


def test_a_checkpoint_is_found_where_it_stands(tiny_folder: Path, cache_dir: Path, tmp_path: Path) -> None:
    assert find_checkpoint(TINY, cache_dir) == tiny_folder
    assert find_checkpoint(str(tiny_folder), tmp_path) == tiny_folder
    assert find_checkpoint(TINY, tmp_path) is None


def test_a_download_is_found_by_its_repository_and_revision(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    index = write(repository / "snapshots" / "abc" / "model_index.json", 2)
    write(repository / "refs" / "main", 0).write_text("abc")
    assert find_checkpoint("owner/name", tmp_path) == index.parent
    assert find_checkpoint("owner/name@abc", tmp_path) == index.parent
    assert find_checkpoint("owner/other", tmp_path) is None
