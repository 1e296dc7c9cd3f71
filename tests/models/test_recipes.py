import json
from pathlib import Path

import pytest

from models.errors import ModelUnavailable
from models.recipes import Family, choose_recipe, read_recipe

LTX_2_0 = {"num_layers": 48, "use_prompt_embeddings": True, "perturbed_attn": False}
LTX_2_3 = {"num_layers": 48, "use_prompt_embeddings": False, "perturbed_attn": True, "cross_attn_mod": True}


def test_ltx2_is_guided_at_block_29_though_its_config_leaves_that_out() -> None:
    recipe = choose_recipe(LTX_2_0)
    assert recipe.family is Family.LTX_2_0
    assert recipe.stg_blocks == (29,)
    assert recipe.perturbed_attn
    assert not recipe.use_cross_timestep


def test_a_config_that_says_nothing_is_ltx2() -> None:
    assert choose_recipe({}) == choose_recipe(LTX_2_0)


def test_ltx2_3_is_guided_at_block_28() -> None:
    recipe = choose_recipe(LTX_2_3)
    assert recipe.family is Family.LTX_2_3
    assert recipe.stg_blocks == (28,)
    assert recipe.use_cross_timestep


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_small_model_is_guided_at_its_last_block(blocks: int) -> None:
    recipe = choose_recipe({"num_layers": blocks})
    assert recipe.family is Family.TINY
    assert recipe.stg_blocks == (blocks - 1,)


def test_the_built_in_model_is_known_by_its_config(tiny_folder: Path) -> None:
    assert read_recipe(tiny_folder).family is Family.TINY


@pytest.mark.parametrize("blocks", [0, -1, "48", None])
def test_a_transformer_without_blocks_is_refused(blocks: object) -> None:
    with pytest.raises(ModelUnavailable, match="num_layers"):
        choose_recipe({"num_layers": blocks})


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model_index.json is missing"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_broken_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ModelUnavailable, match=r"model_index\.json"):
        read_recipe(tmp_path)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelUnavailable, match="FluxPipeline, not an LTX-2 pipeline"):
        read_recipe(tmp_path)
