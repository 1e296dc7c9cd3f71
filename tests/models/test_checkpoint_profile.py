import json
from pathlib import Path

import pytest

from models.checkpoint.profile import (
    DISTILLED_SIGMAS,
    CheckpointType,
    Family,
    choose_profile,
    is_distilled,
    read_profile,
)
from models.errors import ModelBroken, ModelUnavailable

LTX_2_0 = {"num_layers": 48, "use_prompt_embeddings": True, "perturbed_attn": False}
LTX_2_3 = {"num_layers": 48, "use_prompt_embeddings": False, "perturbed_attn": True, "cross_attn_mod": True}


def test_ltx2_is_guided_at_block_29_though_its_config_leaves_that_out() -> None:
    profile = choose_profile(LTX_2_0)
    assert profile.family is Family.LTX_2_0
    assert profile.stg_blocks == (29,)
    assert profile.perturbed_attn
    assert not profile.use_cross_timestep


def test_a_config_that_says_nothing_is_ltx2() -> None:
    assert choose_profile({}) == choose_profile(LTX_2_0)


def test_ltx2_3_is_guided_at_block_28() -> None:
    profile = choose_profile(LTX_2_3)
    assert profile.family is Family.LTX_2_3
    assert profile.stg_blocks == (28,)
    assert profile.use_cross_timestep


@pytest.mark.parametrize("blocks", [1, 2, 28])
def test_a_model_without_that_block_is_guided_at_its_last(blocks: int) -> None:
    for config in (LTX_2_0, LTX_2_3):
        assert choose_profile({**config, "num_layers": blocks}).stg_blocks == (blocks - 1,)


def test_a_model_with_some_blocks_less_is_guided_where_its_family_is_and_is_not_tiny() -> None:
    profile = choose_profile({**LTX_2_3, "num_layers": 40})
    assert profile.stg_blocks == (28,)
    assert not profile.tiny


def test_a_narrow_model_is_tiny_however_many_blocks_it_has() -> None:
    assert choose_profile({"num_layers": 48, "num_attention_heads": 2, "attention_head_dim": 16}).tiny


def test_the_built_in_model_is_known_by_its_config(tiny_folder: Path) -> None:
    profile = read_profile(tiny_folder)
    assert profile.tiny
    assert profile.family is Family.LTX_2_0
    assert profile.sigmas is None


def test_a_real_model_is_not_tiny() -> None:
    assert not choose_profile(LTX_2_0).tiny
    assert not choose_profile(LTX_2_3).tiny


def test_the_sigmas_of_a_distilled_model_are_those_that_diffusers_has() -> None:
    from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES

    assert list(DISTILLED_SIGMAS) == DISTILLED_SIGMA_VALUES


def test_the_operator_s_word_on_a_distilled_model_wins(tiny_folder: Path) -> None:
    assert read_profile(tiny_folder, CheckpointType.DISTILLED).sigmas == DISTILLED_SIGMAS
    assert not is_distilled(CheckpointType.BASE, {"use_dynamic_shifting": False}, "LTX-2.3-Distilled-Diffusers")


def test_a_scheduler_that_shifts_nothing_is_that_of_a_distilled_model() -> None:
    assert is_distilled(
        CheckpointType.AUTO, {"use_dynamic_shifting": False, "shift_terminal": None}, "Lightricks/LTX-2"
    )
    assert not is_distilled(CheckpointType.AUTO, {"use_dynamic_shifting": True}, "Lightricks/LTX-2")
    assert not is_distilled(CheckpointType.AUTO, {}, "/home/distilled/LTX-2")


@pytest.mark.parametrize("name", ["a/LTX-2-Distilled", "/models/ltx2-distilled/", "a/ltx2-distilled@refs/pr/1"])
def test_a_model_that_is_called_distilled_and_does_not_tell_is_asked_about(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"set generator\.checkpoint_type to distilled or to base"):
        is_distilled(CheckpointType.AUTO, {"use_dynamic_shifting": True}, name)


@pytest.mark.parametrize("field", ["num_layers", "num_attention_heads", "attention_head_dim"])
@pytest.mark.parametrize("value", [0, -1, "48", None])
def test_a_transformer_of_no_size_is_refused(field: str, value: object) -> None:
    with pytest.raises(ModelBroken, match=field):
        choose_profile({field: value})


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"model_index.json is missing"):
        read_profile(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_broken_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ModelBroken, match=r"model_index\.json"):
        read_profile(tmp_path)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelUnavailable, match="FluxPipeline, not an LTX-2 pipeline"):
        read_profile(tmp_path)
