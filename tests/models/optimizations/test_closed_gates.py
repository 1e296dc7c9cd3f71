"""Promise: where the gates between video and audio are zero, the modality pass costs nothing and changes nothing."""

from typing import Any

import pytest
import torch
from PIL import Image

from models.conditions import NO_CONDITIONS
from models.lora.lora_linear import LoraLinear
from models.ltx2.model import Ltx2Model
from models.optimizations.closed_gates import GATES
from models.optimizations.install import clear_caches, install
from models.optimizations.selection import ALWAYS_FASTER, Optimization
from tests.models.conftest import ignore, small
from tests.models.optimizations.conftest import STG_BLOCK, Build, counting, denoise, distance, transformer_of
from tests.models.optimizations.test_optimizations import NO_GUIDANCE, ROUNDING, STG_ALONE, make_image, sped_up

CLOSED = (Optimization.SKIP_CLOSED_GATES,)


@pytest.fixture
def closed(build: Build) -> Build:
    """A function that builds a model of random weights whose modalities do not act on each other."""

    def make() -> Ltx2Model:
        model = build()
        transformer = transformer_of(model)
        with torch.no_grad():
            for gate, table in GATES.items():
                for weight in getattr(transformer, gate).linear.parameters():
                    weight.zero_()
                for block in transformer.transformer_blocks:
                    getattr(block, table)[-1].zero_()
        return model

    return make


@pytest.mark.parametrize("request_fields", [{}, NO_GUIDANCE, STG_ALONE], ids=["guided", "plain", "stg alone"])
@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
@pytest.mark.parametrize("names", [CLOSED, ALWAYS_FASTER], ids=["alone", "with all others"])
def test_it_changes_nothing(
    closed: Build, names: tuple[Optimization, ...], request_fields: dict[str, object], image: Image.Image | None
) -> None:
    fast, plain = sped_up(closed, *names), closed()
    for seed in (1, 2):
        fields = {"seed": seed, **request_fields}
        assert distance(denoise(fast, image, **fields), denoise(plain, image, **fields)) <= ROUNDING


def test_no_modality_attends_to_the_other_and_the_modality_pass_runs_no_block(closed: Build) -> None:
    """Two passes: two rows for the texts, and one with STG."""
    model = sped_up(closed, *CLOSED)
    block = transformer_of(model).transformer_blocks[STG_BLOCK]
    with (
        counting(block) as rows,
        counting(block.audio_to_video_attn) as heard,
        counting(block.video_to_audio_attn) as seen,
    ):
        denoise(model)
    assert rows == [2, 1] * 3
    assert (heard, seen) == ([], [])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("where", ["timestep", "table"])
def test_a_gate_that_is_open_keeps_everything(closed: Build, gate: str, where: str) -> None:
    transformer = transformer_of(closed())
    with torch.no_grad():
        if where == "timestep":
            getattr(transformer, gate).linear.bias[0] = 0.1
        else:
            getattr(transformer.transformer_blocks[STG_BLOCK], GATES[gate])[-1, 0] = 0.1
    assert install(transformer, CLOSED, (STG_BLOCK,)) == ()


@pytest.mark.parametrize("gate", GATES)
def test_a_lora_of_a_gate_opens_it(closed: Build, gate: str) -> None:
    shut = denoise(closed())
    results = []
    for model in (closed(), sped_up(closed, *CLOSED)):
        add_lora(getattr(transformer_of(model), gate))
        results.append(denoise(model))
    plain, fast = results
    assert distance(fast, plain) <= ROUNDING
    assert distance(fast, shut) > 100 * ROUNDING


def add_lora(gate: Any) -> None:
    torch.manual_seed(7)
    linear = gate.linear
    gate.linear = LoraLinear(linear, torch.randn(2, linear.in_features), torch.randn(linear.out_features, 2))


def test_nothing_is_kept_after_a_task_or_one_that_ended_early(closed: Build) -> None:
    model = sped_up(closed, *CLOSED)
    transformer = transformer_of(model)
    model.render(small(**NO_GUIDANCE), NO_CONDITIONS, ignore)
    assert transformer.closed_gates._prediction == ()
    transformer.closed_gates._prediction = (torch.ones(1),)
    clear_caches(transformer)
    assert transformer.closed_gates._prediction == ()
