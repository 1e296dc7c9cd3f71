"""Promise: streamed weights move as their placement says, and all others stay."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2Pipeline
from diffusers.hooks import group_offloading

from models.ltx2.model import Ltx2Model
from models.memory import offload
from models.memory.offload_plan import GB, OffloadMode, Placement
from tests.models.conftest import ignore
from tests.models.optimizations.conftest import PLAIN, denoise, distance


class Stream:
    """A stream for a device without streams: a copy on it is complete at once."""

    def synchronize(self) -> None:
        pass


class Backend:
    """The functions that diffusers calls on a device with streams."""

    Stream = Stream

    def __init__(self, device: torch.device) -> None:
        pass

    def stream(self, _stream: Stream) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def current_stream(self) -> Stream:
        return Stream()


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU replaces a GPU with streams: diffusers prefetches, but copies nothing."""

    def with_streams(module: Any, *, offload_type: str, use_stream: bool, **how: Any) -> None:
        config = group_offloading.GroupOffloadingConfig(
            offload_type=group_offloading.GroupOffloadingType(offload_type),
            stream=Stream(),
            non_blocking=False,
            **{**how, "low_cpu_mem_usage": True},
        )
        group_offloading._apply_group_offloading(module, config)

    @contextlib.contextmanager
    def as_it_is(group: Any) -> Iterator[Any]:
        yield group.cpu_param_dict

    monkeypatch.setattr(group_offloading, "TorchDeviceBackend", Backend)
    monkeypatch.setattr(group_offloading.ModuleGroup, "_pinned_memory_tensors", as_it_is)
    monkeypatch.setattr("diffusers.hooks.apply_group_offloading", with_streams)


def passing(folder: Path, place: OffloadMode = OffloadMode.BLOCK) -> Any:
    """A pipeline placed as on a small GPU."""
    pipe = LTX2Pipeline.from_pretrained(folder)
    offload.apply(pipe, Placement(place, 0, 0), device="cpu")
    return pipe


def test_what_is_in_no_block_moves_at_no_call(
    model: Ltx2Model, cache_dir: Path, streams: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers would move it to the GPU and back at each call, through memory that is not pinned."""
    loaded = Ltx2Model.load("tiny", "cpu", cache_dir, ignore)
    offload.apply(loaded._text_to_video, Placement(OffloadMode.BLOCK, 0, 0), device="cpu")
    transformer = loaded._text_to_video.transformer
    reference = denoise(model)
    moved: dict[str, int] = {"outside": 0, "blocks": 0}
    in_blocks = {id(weight) for weight in transformer.transformer_blocks.parameters()}
    ours = {id(weight) for weight in (*transformer.parameters(), *transformer.buffers())}
    plain = group_offloading.ModuleGroup._onload_from_memory

    def count(group: Any) -> None:
        weights = [weight for module in group.modules for weight in (*module.parameters(), *module.buffers())]
        for weight in (*weights, *group.parameters, *group.buffers):
            if id(weight) in ours:
                moved["blocks" if id(weight) in in_blocks else "outside"] += weight.nbytes
        plain(group)

    monkeypatch.setattr(group_offloading.ModuleGroup, "_onload_from_memory", count)
    for _ in range(2):
        assert distance(denoise(loaded), reference) == 0
    assert moved["outside"] == 0
    assert moved["blocks"] > 0


@pytest.mark.parametrize("quality", ["exact", "fast"])
@pytest.mark.parametrize("place", [OffloadMode.ALL_BUT_TRANSFORMER, OffloadMode.BLOCK])
def test_the_second_render_has_cached_texts_and_skips_what_the_first_one_skipped(
    tiny_folder: Path, streams: None, place: OffloadMode, quality: str
) -> None:
    """At the end of the first call diffusers removes a hook, and with it whatever has replaced `forward` since."""
    pipe = passing(tiny_folder, place)
    model = Ltx2Model("placed", PLAIN, pipe, Placement(place, 0, 0))
    calls = []
    pipe.transformer.transformer_blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    first, counted = denoise(model, quality=quality), len(calls)
    assert distance(denoise(model, quality=quality), first) == 0
    assert len(calls) == 2 * counted


def test_a_vae_prefetches_and_notes_nothing_more(tiny_folder: Path, streams: None) -> None:
    """Its `decode` is not a forward, so a hook on the whole VAE would wait forever for the end of the first call."""
    vae = passing(tiny_folder, OffloadMode.ALL_BUT_TRANSFORMER).vae
    latents = torch.zeros(1, vae.config.latent_channels, 2, 2, 2)
    noted = []
    for _ in range(3):
        with torch.no_grad():
            vae.encode(torch.zeros(1, 3, 9, 64, 64))
            vae.decode(latents, None, return_dict=False)
        noted.append(sum(len(hook.execution_order) for hook in hooks(vae, "lazy_prefetch_group_offloading")))
    assert noted == [0, 0, 0]
    for part in (vae.encoder, vae.decoder):
        assert any(hook.next_group is not None for hook in hooks(part, "group_offloading"))


def test_pinning_stops_where_others_take_the_memory(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each weight measures again: replicas of a host load together after a scale-up."""
    pipe = LTX2Pipeline.from_pretrained(tiny_folder)
    room = iter([80 * GB] * 6 + [0] * 10_000)
    monkeypatch.setattr(offload, "max_pinned_bytes", lambda: next(room))
    blocks = list(pipe.transformer.transformer_blocks.parameters())
    stood = {id(weight): weight.data_ptr() for weight in blocks}
    assert offload.pin({"transformer": pipe.transformer}) == frozenset()
    assert sum(weight.data_ptr() != stood[id(weight)] for weight in blocks) == 5
    monkeypatch.setattr(offload, "max_pinned_bytes", lambda: 80 * GB)
    assert offload.pin({"transformer": pipe.transformer, "vae": pipe.vae}) == {"transformer", "vae"}


def hooks(module: Any, name: str) -> list[Any]:
    """diffusers' hooks with this name, on a module and inside it."""
    registries = [part._diffusers_hook for part in module.modules() if hasattr(part, "_diffusers_hook")]
    return [hook for registry in registries if (hook := registry.get_hook(name)) is not None]
