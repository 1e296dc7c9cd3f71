import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.checkpoint.tiny import build_tiny
from models.ltx2.model import Ltx2Model

MIB = 2**20


def digest(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_weights_are_the_same_wherever_they_are_made(tiny_folder: Path, tmp_path: Path) -> None:
    assert digest(build_tiny(tmp_path)) == digest(tiny_folder)


def test_building_leaves_the_random_numbers_of_its_process_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    build_tiny(tmp_path)
    assert torch.equal(torch.rand(4), expected)


def test_two_that_build_at_once_end_up_with_one_model(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build_tiny, [tmp_path, tmp_path])
    assert first == second
    assert [entry.name for entry in tmp_path.iterdir()] == [first.name]
    assert (first / "model_index.json").is_file()


def test_what_is_built_is_used_again(tiny_folder: Path, cache_dir: Path) -> None:
    built = (tiny_folder / "model_index.json").stat().st_mtime_ns
    assert build_tiny(cache_dir) == tiny_folder
    assert (tiny_folder / "model_index.json").stat().st_mtime_ns == built


def test_the_folder_is_small(tiny_folder: Path) -> None:
    assert sum(file.stat().st_size for file in tiny_folder.rglob("*") if file.is_file()) < 20 * MIB


def test_it_compresses_as_ltx2_does(model: Ltx2Model) -> None:
    pipe = model._text_to_video
    assert (pipe.vae_spatial_compression_ratio, pipe.vae_temporal_compression_ratio) == (32, 8)
    assert (pipe.audio_vae_temporal_compression_ratio, pipe.audio_sampling_rate) == (4, 16_000)
    assert model.sample_rate_hz == 24_000


@pytest.mark.parametrize("prompt", ["a cat", "eine Katze, größer", "猫が歩く", "🐈", "\x00\t"])
def test_every_prompt_is_read_to_the_byte(model: Ltx2Model, prompt: str) -> None:
    tokenizer = model._text_to_video.tokenizer
    tokens = tokenizer(prompt)["input_ids"]
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.decode(tokens) == tokenizer.bos_token + prompt
