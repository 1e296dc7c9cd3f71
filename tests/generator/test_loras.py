"""LoRAs from the settings to the clip and the MP4, without Ray."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from deployments.encoder.deployment import Encoder
from deployments.generator.deployment import Generator
from deployments.settings import Settings
from models.checkpoint.tiny import build_tiny
from models.clip import Clip
from models.errors import InvalidRequest, LoraUnusable
from models.names import TINY_MODEL_NAME
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, ReplicaState, Task
from tests.models.conftest import small
from tests.models.loras.conftest import by_comfyui, draw_pairs, save

LAYERS = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.0.proj", "proj_in")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    transformer = LTX2VideoTransformer3DModel.from_pretrained(build_tiny(tmp_path / "cache"), subfolder="transformer")
    save(by_comfyui(draw_pairs(transformer, layers=LAYERS)), tmp_path / "ink.safetensors")
    return Settings(
        database_url=f"sqlite:///{tmp_path / 'tasks.db'}",
        outputs={"url": f"file:{tmp_path / 'outputs'}"},
        cache_dir=tmp_path / "cache",
        generator={"loras": {"ink": {"path": tmp_path / "ink.safetensors"}}},
    )


def claimed(store: SqlTaskStore, **fields: object) -> Task:
    store.submit(NewTask(small(**fields), TINY_MODEL_NAME, "http://box"))
    (task,) = store.claim("alice", TINY_MODEL_NAME, 1, 60)
    return task


def equal(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.frames, other.frames)


def test_a_task_is_rendered_with_its_loras_and_the_next_one_without(settings: Settings, store: SqlTaskStore) -> None:
    generator = Generator(settings, "tiny", TINY_MODEL_NAME, "cpu")
    plain = generator.render(claimed(store))
    changed = generator.render(claimed(store, loras=[{"name": "ink", "scale": 0.5}]))
    assert not equal(changed, plain)
    assert equal(generator.render(claimed(store)), plain)
    assert equal(generator.render(claimed(store, loras=[{"name": "ink", "scale": 0.5}])), changed)
    assert not equal(generator.render(claimed(store, camera_motion="ink")), changed)


def test_a_waiting_task_whose_lora_is_gone_fails_with_its_name(settings: Settings, store: SqlTaskStore) -> None:
    with pytest.raises(InvalidRequest, match='"oil" was given'):
        Generator(settings, "tiny", TINY_MODEL_NAME, "cpu").render(claimed(store, loras=[{"name": "oil"}]))


def test_a_lora_that_does_not_fit_fails_the_load_and_health_has_the_message(
    settings: Settings, store: SqlTaskStore, tmp_path: Path
) -> None:
    save({"diffusion_model.nothing.lora_A.weight": torch.zeros(3, 16)}, tmp_path / "ink.safetensors")
    generator = Generator(settings, "tiny", TINY_MODEL_NAME, "cpu")
    with pytest.raises(
        LoraUnusable, match=r"LoRA ink: the tensor diffusion_model.nothing.lora_A.weight is for nothing"
    ):
        generator.render(claimed(store))
    (replica,) = store.live_replicas()
    assert replica.state is ReplicaState.FAILED
    assert "LoRA ink" in replica.message


def test_the_mp4_tells_its_loras(settings: Settings, store: SqlTaskStore, tmp_path: Path) -> None:
    task = claimed(store, loras=[{"name": "ink", "scale": 0.5}], camera_motion="dolly_in")
    store.start_run(task)
    made = Clip(
        np.zeros((9, 64, 128, 3), np.uint8), np.zeros((2, 24_000), np.float32), 24_000, small().exact_frame_rate
    )
    Encoder(settings).encode(made, task)
    with av.open(next((tmp_path / "outputs").glob(f"**/ltx2_{task.id}.mp4"))) as mp4:
        assert mp4.metadata["comment"].endswith("num_inference_steps=2 loras=ink:0.5,dolly_in:1")
