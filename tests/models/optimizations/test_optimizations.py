"""Promise: with optimizations the result stays diffusers', within a stated tolerance, with less work."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ModelMixin
from PIL import Image

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.optimizations.compiled import compile_blocks, use_backend
from models.optimizations.first_attention import INPUTS
from models.optimizations.install import install
from models.optimizations.registers import dedup_registers
from models.optimizations.selection import ALWAYS_FASTER, Optimization, choose_optimizations
from models.optimizations.text_kv_cache import CachedLinear
from tests.models.conftest import ignore, small
from tests.models.optimizations.conftest import (
    BLOCKS,
    REGISTERS,
    STG_BLOCK,
    Build,
    counting,
    denoise,
    distance,
    transformer_of,
)

ROUNDING = 2e-5
"""In float32. Switching STG off changes the result a thousand times as much (tested below)."""
EXACT = 0.0
NO_GUIDANCE: dict[str, object] = {
    "cfg_scale_video": 1.0, "cfg_scale_audio": 1.0, "stg_scale_video": 0.0, "modality_scale": 1.0
}  # fmt: skip
STG_ALONE: dict[str, object] = {**NO_GUIDANCE, "stg_scale_video": 1.0}
LATER: dict[str, object] = {
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
}
"""Config switches that LTX-2.3 has beside LTX-2 (19B)."""


def make_image() -> Image.Image:
    return Image.linear_gradient("L").resize((128, 64)).convert("RGB")


def sped_up(build: Build, *names: Optimization, **config: Any) -> Ltx2Model:
    model = build(**config)
    model.apply_optimizations(names)
    assert model.optimizations == names
    return model


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        (Optimization.STG_PREFIX_REUSE, ROUNDING),
        (Optimization.FIRST_ATTENTION_REUSE, ROUNDING),
        (Optimization.DEDUP_REGISTERS, ROUNDING),
        (Optimization.DROP_NOOP_MASK, EXACT),
        (Optimization.TEXT_KV_CACHE, EXACT),
        (Optimization.DEDUP_TIMESTEPS, ROUNDING),
    ],
)
@pytest.mark.parametrize("request_fields", [{}, NO_GUIDANCE, STG_ALONE], ids=["guided", "plain", "stg alone"])
@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
def test_a_speedup_changes_nothing(
    build: Build, name: Optimization, tolerance: float, request_fields: dict[str, object], image: Image.Image | None
) -> None:
    reference = denoise(build(), image, **request_fields)
    assert distance(denoise(sped_up(build, name), image, **request_fields), reference) <= tolerance


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_of_them_together_change_nothing_over_two_tasks(build: Build, device: str) -> None:
    for_open_gates = [each for each in choose_optimizations("auto", device) if each != Optimization.SKIP_CLOSED_GATES]
    plain, fast = build(), sped_up(build, *for_open_gates)
    for fields in ({"prompt": "a cat"}, {"prompt": "a dog", "seed": 5}):
        assert distance(denoise(fast, **fields), denoise(plain, **fields)) <= ROUNDING


def test_what_speedups_may_not_move_is_moved_by_stg_a_thousand_times_as_far(build: Build) -> None:
    model = build()
    assert distance(denoise(model), denoise(model, stg_scale_video=0.0)) > 1000 * ROUNDING


def test_the_stg_pass_runs_no_block_before_its_own(build: Build) -> None:
    blocks = transformer_of(sped := sped_up(build, Optimization.STG_PREFIX_REUSE)).transformer_blocks
    with counting(blocks[STG_BLOCK - 1]) as before, counting(blocks[STG_BLOCK]) as perturbed:
        denoise(sped)
    assert before == [2, 1] * 3
    assert perturbed == [2, 1, 1] * 3


def test_a_prefix_is_never_taken_from_another_task(build: Build) -> None:
    """A task that ends between the two calls leaves its rows behind. The next task must not start from them."""
    model = sped_up(build, Optimization.STG_PREFIX_REUSE)
    denoise(model, **NO_GUIDANCE)
    assert distance(denoise(model), denoise(build())) <= ROUNDING


def test_the_first_attention_runs_once_in_a_step_and_all_others_in_each_pass(build: Build) -> None:
    """Three passes: two rows for the texts, one with STG, one without the other modality."""
    model = sped_up(build, Optimization.FIRST_ATTENTION_REUSE)
    first, second = (block.attn1.to_q for block in transformer_of(model).transformer_blocks[:2])
    with counting(first) as rows, counting(second) as others:
        denoise(model)
    assert rows == [1] * 3
    assert others == [2, 1, 1] * 3


def test_a_perturbed_first_attention_is_computed(build: Build) -> None:
    plain, fast = build(), build()
    install(transformer_of(fast), (Optimization.FIRST_ATTENTION_REUSE,), (0,))
    for model in (plain, fast):
        model.profile = replace(model.profile, stg_blocks=(0,))
    assert distance(denoise(fast), denoise(plain)) <= ROUNDING
    assert distance(denoise(fast), denoise(build())) > ROUNDING


@pytest.mark.parametrize("name", INPUTS)
def test_a_first_attention_of_other_inputs_is_computed(build: Build, name: str) -> None:
    """For rows that differ, each one; for equal rows, one of them, and none if the call before had the same inputs."""
    transformer = transformer_of(sped_up(build, Optimization.FIRST_ATTENTION_REUSE))
    attention = transformer.transformer_blocks[0].attn1
    states = torch.randn(2, 4, attention.to_q.in_features)
    whole = torch.ones(2, 4, attention.to_q.out_features), torch.zeros(2, 4, attention.to_q.out_features)
    equal = {name: torch.ones(2, 4, 3) for name in INPUTS}
    calls = [equal, equal, equal | {name: torch.zeros(2, 4, 3)}, equal | {name: torch.eye(2)}]
    with counting(attention.to_q) as rows:
        for call in calls:
            attention.reuse.prepare(transformer, (), call)
            assert attention(states, query_rotary_emb=whole).shape[:2] == (2, 4)
    assert rows == [1, 1, 2]


def test_a_repeated_register_is_read_once(build: Build) -> None:
    """The texts have 6 and 7 tokens, in two rounds of registers. One round more stands for all others."""
    texts = {"prompt": "a cat", "negative_prompt": "blurry"}
    model = sped_up(build, Optimization.DEDUP_REGISTERS, Optimization.DROP_NOOP_MASK, Optimization.TEXT_KV_CACHE)
    read: list[int] = []
    transformer_of(model).register_forward_pre_hook(
        lambda _transformer, _args, call: read.append(call["encoder_hidden_states"].shape[1]), with_kwargs=True
    )
    assert distance(denoise(model, **texts), denoise(build(), **texts)) <= ROUNDING
    assert set(read) == {3 * REGISTERS}


@pytest.mark.parametrize("tokens", [3 * REGISTERS, 20 * REGISTERS])
def test_a_text_with_one_round_of_registers_stays_as_it_is(tokens: int) -> None:
    text, mask = torch.randn(2, tokens, 3), torch.ones(2, tokens)
    text[:1, REGISTERS:] = text[0, :REGISTERS].repeat(tokens // REGISTERS - 1, 1)  # one row of two
    assert all(map(torch.equal, dedup_registers(text, text, mask, REGISTERS), (text, text, mask)))


def test_a_mask_that_masks_keeps_all_registers() -> None:
    text, mask = torch.ones(1, 3 * REGISTERS, 3), torch.ones(1, 3 * REGISTERS)
    assert dedup_registers(text, text, mask, REGISTERS)[0].shape[1] == REGISTERS
    mask[0, 0] = 0
    assert dedup_registers(text, text, mask, REGISTERS)[2] is mask


def test_registers_that_layers_have_changed_are_not_looked_for(tiny_folder: Path, tmp_path: Path) -> None:
    model = Ltx2Model.load(str(tiny_folder), "cpu", tmp_path, ignore)
    only_of_the_demo = {Optimization.DEDUP_REGISTERS, Optimization.SKIP_CLOSED_GATES}
    assert set(ALWAYS_FASTER) - {*model.optimizations, Optimization.STG_PREFIX_REUSE} == only_of_the_demo


def test_there_is_no_prefix_before_block_0(build: Build) -> None:
    assert install(transformer_of(build()), (Optimization.STG_PREFIX_REUSE,), (0,)) == ()


def test_a_model_that_modulates_its_text_has_no_keys_to_keep(build: Build) -> None:
    model = build(**LATER)
    assert install(transformer_of(model), (Optimization.TEXT_KV_CACHE,), (STG_BLOCK,)) == ()


def test_the_other_speedups_hold_for_a_later_model(build: Build) -> None:
    names = (Optimization.STG_PREFIX_REUSE, Optimization.DROP_NOOP_MASK, Optimization.DEDUP_TIMESTEPS)
    assert distance(denoise(sped_up(build, *names, **LATER)), denoise(build(**LATER))) <= ROUNDING


def test_the_text_is_projected_once_a_task(build: Build) -> None:
    model = sped_up(build, Optimization.TEXT_KV_CACHE)
    kept = transformer_of(model).transformer_blocks[0].attn2.to_k
    assert isinstance(kept, CachedLinear)
    with counting(kept.linear) as rows:
        denoise(model)
        denoise(model, prompt="a dog")
    assert rows == [2, 2]


def test_two_timesteps_make_two_rows_of_a_table(build: Build) -> None:
    model = sped_up(build, Optimization.DEDUP_TIMESTEPS)
    with counting(transformer_of(model).time_embed.table) as rows:
        denoise(model, make_image())
    assert rows == [2] * 9


def test_no_mask_reaches_the_blocks_where_it_masks_nothing(build: Build) -> None:
    model = sped_up(build, Optimization.DROP_NOOP_MASK)
    masks: list[object] = []
    transformer_of(model).transformer_blocks[0].register_forward_pre_hook(
        lambda _block, _args, call: masks.append(call["encoder_attention_mask"]), with_kwargs=True
    )
    denoise(model)
    assert masks == [None] * 9


def test_a_mask_that_masks_is_kept(build: Build) -> None:
    transformer = transformer_of(sped_up(build, Optimization.DROP_NOOP_MASK))
    passed: list[torch.Tensor] = []
    transformer.register_forward_pre_hook(
        lambda _transformer, _args, call: passed.append(call["encoder_attention_mask"]), with_kwargs=True
    )
    mask = torch.tensor([[1, 1, 0]])
    with pytest.raises(TypeError):
        transformer(encoder_attention_mask=mask)
    assert passed[0] is mask


def test_auto_and_a_list_mean_what_the_device_can_do() -> None:
    assert choose_optimizations("auto", "cpu") == ALWAYS_FASTER
    assert set(ALWAYS_FASTER) - set(choose_optimizations("auto", "cuda")) == {Optimization.FIRST_ATTENTION_REUSE}
    assert choose_optimizations("off", "cuda") == ()
    assert choose_optimizations([Optimization.COMPILE, Optimization.DROP_NOOP_MASK], "cuda") == (
        Optimization.DROP_NOOP_MASK,
        Optimization.COMPILE,
    )
    assert choose_optimizations([Optimization.COMPILE, Optimization.DROP_NOOP_MASK], "cpu") == (
        Optimization.DROP_NOOP_MASK,
    )


def test_what_must_be_measured_first_is_never_on_by_itself() -> None:
    assert not {Optimization.COMPILE, Optimization.CUDNN} & set(choose_optimizations("auto", "cuda"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_kept_keys_give_way_to_compilation(build: Build) -> None:
    on = install(transformer_of(build()), (Optimization.TEXT_KV_CACHE, Optimization.COMPILE), (STG_BLOCK,))
    assert on == (Optimization.COMPILE,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_compiled_blocks_change_nothing_beside_the_shared_prefix(build: Build) -> None:
    """Traced as on a GPU. torch's own tests cover the generated kernels."""
    model = sped_up(build, Optimization.STG_PREFIX_REUSE, Optimization.DROP_NOOP_MASK)
    compile_blocks(transformer_of(model), backend="aot_eager")
    assert distance(denoise(model), denoise(build())) <= ROUNDING


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_what_is_compiled_is_kept_beside_the_weights(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "an operator's own")
    Ltx2Model.load(str(tiny_folder), "cpu", tmp_path, lambda _progress: None)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "an operator's own"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    Ltx2Model.load(str(tiny_folder), "cpu", tmp_path, lambda _progress: None)
    assert cache_dir() == str(tmp_path / "compiled")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


class Block(torch.nn.Module):
    def forward(self, states: torch.Tensor, kind: str) -> torch.Tensor:
        return states + len(kind)


class Blocks(ModelMixin):
    _repeated_blocks = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own modules, when its compiler is imported
def test_blocks_stay_compiled_with_many_kinds_of_calls() -> None:
    """Four passes, with an image or without, for two sizes: torch's own limit is lower, and it fails silently."""
    blocks, ran = Blocks(), []

    def compiled(graph: Any, _inputs: Any) -> Any:
        return lambda *inputs: ran.append(graph) or graph.forward(*inputs)

    compile_blocks(blocks, backend=compiled)
    for kind in range(16):
        blocks.block(torch.ones(2), "x" * kind)
    assert len(ran) == 16


def test_another_kernel_is_for_the_image_s_self_attention_of_one_model_alone(build: Build) -> None:
    """torch's own kernel replaces cuDNN's, which a CPU does not have."""
    model = build()
    use_backend(transformer_of(model), "native")
    kernels = {name: layer.processor._attention_backend for name, layer in attentions(model).items()}
    assert {name for name, kernel in kernels.items() if kernel} == {f"{block}.attn1" for block in range(BLOCKS)}
    assert not any(layer.processor._attention_backend for layer in attentions(build()).values())
    assert distance(denoise(model), denoise(build())) == EXACT


def attentions(model: Ltx2Model) -> dict[str, Any]:
    """The attention layers of all blocks, by block and name."""
    blocks = transformer_of(model).transformer_blocks
    return {name: layer for name, layer in blocks.named_modules() if hasattr(layer, "processor")}


def test_nothing_is_kept_after_a_task(build: Build) -> None:
    names = (Optimization.STG_PREFIX_REUSE, Optimization.FIRST_ATTENTION_REUSE, Optimization.TEXT_KV_CACHE)
    model = sped_up(build, *names)
    model.render(small(), NO_CONDITIONS, ignore)
    blocks = transformer_of(model).transformer_blocks
    assert blocks._kept is None
    assert (blocks[0].attn1.reuse._inputs, blocks[0].attn1.reuse._result) == ([], None)
    assert all(block.attn2.to_k._kept is None for block in blocks)


def test_a_streamed_transformer_gets_only_what_skips_no_module() -> None:
    assert Optimization.TEXT_KV_CACHE not in choose_optimizations("auto", "cuda", roomy=False)
    assert Optimization.TEXT_KV_CACHE in choose_optimizations([Optimization.TEXT_KV_CACHE], "cuda", roomy=False), (
        "an operator's word counts"
    )
    assert choose_optimizations("auto", "cuda", streamed=True) == (
        Optimization.DROP_NOOP_MASK,
        Optimization.DEDUP_TIMESTEPS,
    )


def test_the_blocks_stay_as_many_as_they_were(build: Build) -> None:
    assert len(transformer_of(sped_up(build, Optimization.STG_PREFIX_REUSE)).transformer_blocks) == BLOCKS
